package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestKeys(t *testing.T) {
	c := &client{config: &Config{Prefix: "/p/"}, key: []byte("/p/")}
	for _, n := range []int64{0, 7, 10, 99_999, 9_999_999, 10_000_000, 99_999_999, 1_234_567_890} {
		if got, want := string(c.keyed(n)), fmt.Sprintf("/p/%08d", n); got != want {
			t.Errorf("key %d is %q, want %q", n, got, want)
		}
	}
}

// TestTimeoutIsOfEachRequest: the deadline that requests share is always at least their timeout away, and one that has passed
// is not the next request's.
func TestTimeoutIsOfEachRequest(t *testing.T) {
	const timeout = 200 * time.Millisecond
	after := func(delay time.Duration) *client {
		conn, err := connect(serveKV(t, &kv{delay: delay}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		cl := newClient(t.Context(), &Config{Op: Put, Keys: 1, Timeout: timeout}, conn)
		t.Cleanup(cl.close)
		return cl
	}
	never := after(time.Hour)
	for range 3 {
		begin := time.Now()
		err := never.request(begin, 0)
		if took := time.Since(begin); status.Code(err) != codes.DeadlineExceeded || took < timeout {
			t.Errorf("a request that is never answered: %v after %s, want its deadline after %s", err, took, timeout)
		}
	}
	soon := after(timeout / renewals / 2)
	for begin := time.Now(); time.Since(begin) < 2*timeout; {
		if err := soon.request(time.Now(), 0); err != nil {
			t.Fatalf("a request that takes a fraction of its timeout: %v", err)
		}
	}
}

// TestNotRetried: what fails before it is sent is counted too, and not tried again until it works.
func TestNotRetried(t *testing.T) {
	s := &kv{}
	addr := serveKV(t, s)
	conn, err := connect(addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cl := newClient(ctx, &Config{Op: Put, Keys: 1, Timeout: time.Minute}, conn)
	defer cl.close()
	if err := cl.request(time.Now(), 0); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if err := cl.request(time.Now(), 0); err == nil || !strings.Contains(err.Error(), "closing") {
		t.Errorf("a put over a closed connection: %v", err)
	}
	cancel()
	if err := cl.request(time.Now(), 0); err == nil || errors.Is(err, errCompare) {
		t.Errorf("a put of a run that has ended: %v", err)
	}
	if s.puts.Load() != 1 {
		t.Errorf("the server saw %d puts, want 1", s.puts.Load())
	}
}
