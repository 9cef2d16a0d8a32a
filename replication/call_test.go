package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// echo answers calls by their method.
type echo struct {
	served atomic.Int64
	slow   chan struct{} // "slow" waits for its end
	end    func()
	begun  chan struct{} // gets one value per "slow" that was begun
}

func (e *echo) Serve(_ context.Context, from string, r Request) Reply {
	e.served.Add(1)
	switch r.Method {
	case "slow":
		e.begun <- struct{}{}
		<-e.slow
	case "large":
		return Reply{Body: make([]byte, 3<<20)}
	case "fail":
		return Reply{Code: 9, Message: "no", Details: []byte{1, 2}}
	}
	return Reply{Body: r.Body, Header: map[string][]string{"from": {from}, "two": r.Header["two"]}}
}

func newCallCluster(t *testing.T, tune func(*Config)) (*cluster, *echo) {
	e := &echo{slow: make(chan struct{}), begun: make(chan struct{}, 16)}
	c := newCluster(t, func(cfg *Config) {
		cfg.Calls = e
		cfg.MaxCallBytes = 2 << 20
		if tune != nil {
			tune(cfg)
		}
	}, "a", "b")
	e.end = sync.OnceFunc(func() { close(e.slow) })
	t.Cleanup(e.end)
	eventually(t, 10*time.Second, "a reaches b", func() bool { return c.engine("a").current.Load().peers["b"].receiver.link.Load() != nil })
	return c, e
}

func TestCall(t *testing.T) {
	c, _ := newCallCluster(t, nil)
	a := c.engine("a")
	for _, size := range []int{0, 10, 600 << 10, 2<<20 - 100} {
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(rand.Uint32())
		}
		r, err := a.Call(within(t, 10*time.Second), "b", Request{Method: "echo", Header: map[string][]string{"two": {"x", "y"}}, Body: body})
		if err != nil || !bytes.Equal(r.Body, body) || r.Header["from"][0] != "a" || len(r.Header["two"]) != 2 {
			t.Fatalf("%d bytes: %d bytes, %v, %v", size, len(r.Body), r.Header, err)
		}
	}
	r, err := a.Call(within(t, 10*time.Second), "b", Request{Method: "fail"})
	if err != nil || r.Code != 9 || r.Message != "no" || !bytes.Equal(r.Details, []byte{1, 2}) {
		t.Fatalf("an error there: %+v, %v", r, err)
	}
}

func TestCallsAtOnce(t *testing.T) {
	c, _ := newCallCluster(t, nil)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			body := bytes.Repeat([]byte{byte(i)}, 1+i*20<<10) // some in one part, some in three
			r, err := c.engine("a").Call(within(t, 20*time.Second), "b", Request{Method: "echo", Body: body})
			if err != nil || !bytes.Equal(r.Body, body) {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func TestCallNotDelivered(t *testing.T) {
	c, e := newCallCluster(t, func(cfg *Config) { cfg.MaxCalls = 2 })
	a := c.engine("a")
	check := func(what, dc string, r Request, says string) {
		t.Helper()
		_, err := a.Call(within(t, 5*time.Second), dc, r)
		if !errors.Is(err, ErrNotDelivered) || errors.Is(err, ErrUnknownOutcome) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("a stranger", "z", Request{}, `"z" is no peer`)
	check("too large", "b", Request{Body: make([]byte, 2<<20)}, "a call may have 2097152")
	for range 2 {
		go a.Call(within(t, 20*time.Second), "b", Request{Method: "slow"}) //nolint:errcheck // it is given up
		<-e.begun
	}
	check("too many", "b", Request{Method: "echo"}, "as many as may be")
	e.end()
	served := e.served.Load()
	c.nodes["b"]["n1"].endLead()
	eventually(t, 5*time.Second, "slots are free", func() bool {
		k := a.current.Load().peers["b"].receiver.link.Load()
		return k == nil || len(k.calls) == 0
	})
	// The link may go while the call is on its way; then it can't be known.
	if _, err := a.Call(within(t, 5*time.Second), "b", Request{Method: "echo"}); !errors.Is(err, ErrNotDelivered) && !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("nobody leads there: %v", err)
	}
	if n := e.served.Load(); n != served {
		t.Errorf("a call that was not delivered was served")
	}
	c.nodes["b"]["n1"].lead(2)
	eventually(t, 10*time.Second, "the next leader answers, in a new session", func() bool {
		_, err := a.Call(within(t, 2*time.Second), "b", Request{Method: "echo"})
		return err == nil
	})
}

func TestCallUnknownOutcome(t *testing.T) {
	c, e := newCallCluster(t, nil)
	a := c.engine("a")
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err := a.Call(ctx, "b", Request{Method: "slow"})
	if !errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrNotDelivered) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("no answer in time: %v", err)
	}
	<-e.begun
	if _, err = a.Call(within(t, 5*time.Second), "b", Request{Method: "large"}); !errors.Is(err, ErrUnknownOutcome) || !strings.Contains(err.Error(), "ask for less") {
		t.Fatalf("an answer that is too large: %v", err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := a.Call(within(t, 20*time.Second), "b", Request{Method: "slow"})
		failed <- err
	}()
	<-e.begun
	c.links["b"]["n1"].cut()
	if err := <-failed; !errors.Is(err, ErrUnknownOutcome) {
		t.Fatalf("the link broke: %v", err)
	}
	e.end()
}

// TestCallIsAnsweredOnce sends the bytes of a call again, as a broker could that has kept them.
func TestCallIsAnsweredOnce(t *testing.T) {
	c, e := newCallCluster(t, nil)
	a, b := c.engine("a"), c.engine("b")
	var mu sync.Mutex
	var kept [][]byte
	sub, err := b.nc.Subscribe(callSubject("b", "a"), func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		kept = append(kept, m.Data)
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := a.Call(within(t, 5*time.Second), "b", Request{Method: "echo", Body: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 5*time.Second, "all is seen", func() bool { mu.Lock(); defer mu.Unlock(); return len(kept) == 4 }) // the first opens a session
	if err := sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	for _, data := range kept {
		if err := b.nc.PublishRequest(callSubject("b", "a"), b.nc.NewInbox(), data); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Call(within(t, 5*time.Second), "b", Request{Method: "echo"}); err != nil {
		t.Fatal(err) // it comes behind them
	}
	if n := e.served.Load(); n != 4 {
		t.Fatalf("%d calls were served, of 4", n)
	}
	c.nodes["b"]["n1"].endLead()
	c.nodes["b"]["n1"].lead(2)
	for _, data := range kept {
		if err := b.nc.PublishRequest(callSubject("b", "a"), b.nc.NewInbox(), data); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 10*time.Second, "the next leader answers", func() bool {
		_, err := a.Call(within(t, 2*time.Second), "b", Request{Method: "echo"})
		return err == nil
	})
	if n := e.served.Load(); n != 5 {
		t.Fatalf("the next leader served %d calls, of 1: those of before were repeated", n-4)
	}
}

func TestSequencesAreBounded(t *testing.T) {
	s := &sequences{begun: map[uint64]bool{}}
	for n := uint64(1); n < 10*callWindow; n++ {
		if !s.first(n) || s.first(n) {
			t.Fatalf("sequence %d", n)
		}
	}
	if len(s.begun) > 2*callWindow || s.first(1) || s.first(9*callWindow-2) {
		t.Errorf("%d kept", len(s.begun))
	}
	c := newCallees(1)
	for n := range uint64(10 * pastAskers) {
		c.of(n)
	}
	if len(c.seen) != pastAskers {
		t.Errorf("%d askers kept", len(c.seen))
	}
}
