package replication

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// closing counts the connections that were closed.
type closing struct {
	net.Conn
	closed *atomic.Int32
}

func (c closing) Close() error {
	c.closed.Add(1)
	return nil
}

func TestDialAgain(t *testing.T) {
	refused := errors.New("refused")
	never := time.Hour
	for name, c := range map[string]struct {
		answers []time.Duration // of the attempts, each since its beginning; negative refuses
		want    time.Duration
		err     error
		begun   int
		closed  int
	}{
		"answers":                          {answers: []time.Duration{100 * time.Millisecond}, want: 100 * time.Millisecond, begun: 1},
		"slow, and another one beside":     {answers: []time.Duration{450 * time.Millisecond, never}, want: 450 * time.Millisecond, begun: 2},
		"what was sent first is lost":      {answers: []time.Duration{never, never, 30 * time.Millisecond}, want: 530 * time.Millisecond, begun: 3},
		"refused":                          {answers: []time.Duration{-10 * time.Millisecond}, want: 10 * time.Millisecond, err: refused, begun: 1},
		"refused when it can be asked":     {answers: []time.Duration{never, -10 * time.Millisecond}, want: 260 * time.Millisecond, err: refused, begun: 2},
		"nobody answers":                   {answers: []time.Duration{never, never, never, never}, want: time.Second, err: context.DeadlineExceeded, begun: 4},
		"two answer, and one is not taken": {answers: []time.Duration{300 * time.Millisecond, 50 * time.Millisecond}, want: 300 * time.Millisecond, begun: 2, closed: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var closed atomic.Int32
				var begun atomic.Int32
				began := time.Now()
				conn, err := dialAgain(t.Context(), time.Second, func(ctx context.Context) (net.Conn, error) {
					wait := c.answers[begun.Add(1)-1]
					select {
					case <-time.After(max(wait, -wait)):
					case <-ctx.Done():
						return nil, ctx.Err()
					}
					if wait < 0 {
						return nil, refused
					}
					return closing{closed: &closed}, nil
				})
				if took := time.Since(began); took != c.want || !errors.Is(err, c.err) || (conn == nil) != (c.err != nil) {
					t.Errorf("%v, %v after %s; want %v after %s", conn, err, took, c.err, c.want)
				}
				if int(begun.Load()) != c.begun || int(closed.Load()) != c.closed {
					t.Errorf("%d attempts, %d connections closed; want %d and %d", begun.Load(), closed.Load(), c.begun, c.closed)
				}
			})
		})
	}
}
