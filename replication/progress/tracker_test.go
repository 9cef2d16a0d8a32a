package progress

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"geogate/replication/policy"
)

var errClosed = errors.New("closed")

type outcome struct {
	ackedBy []string
	err     error
}

// waiter starts a wait and returns where its outcome will be.
func waiter(t *Tracker, ctx context.Context, revision int64, p policy.Policy) <-chan outcome {
	c := make(chan outcome, 1)
	go func() {
		names, err := t.Wait(ctx, revision, p)
		c <- outcome{names, err}
	}()
	return c
}

func TestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := New("b", []string{"c", "a"})
		pending := func(c <-chan outcome) {
			t.Helper()
			synctest.Wait()
			select {
			case o := <-c:
				t.Fatalf("released early: %+v", o)
			default:
			}
		}
		released := func(c <-chan outcome, names ...string) {
			t.Helper()
			synctest.Wait()
			select {
			case o := <-c:
				if o.err != nil || !slices.Equal(o.ackedBy, names) {
					t.Fatalf("got %+v, want %v", o, names)
				}
			default:
				t.Fatal("not released")
			}
		}
		ctx := t.Context()
		released(waiter(tr, ctx, 5, policy.Async), "b")
		any5, quorum5, all5, all6 := waiter(tr, ctx, 5, policy.Any), waiter(tr, ctx, 5, policy.Quorum), waiter(tr, ctx, 5, policy.All), waiter(tr, ctx, 6, policy.All)
		tr.Ack("c", 4)
		pending(any5)
		tr.Ack("c", 5)
		released(any5, "b", "c")
		released(quorum5, "b", "c")
		pending(all5)
		tr.Ack("a", 9)
		released(all5, "b", "a", "c")
		pending(all6)
		if tr.Waiting() != 1 {
			t.Errorf("%d wait", tr.Waiting())
		}
		if tr.Ack("c", 3) {
			t.Error("moved back")
		}
		tr.Ack("c", 6)
		released(all6, "b", "a", "c")
		released(waiter(tr, ctx, 6, policy.All), "b", "a", "c")
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := New("a", []string{"b", "c"})
		tr.Ack("b", 7)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		names, err := tr.Wait(ctx, 7, policy.All)
		if !errors.Is(err, context.DeadlineExceeded) || !slices.Equal(names, []string{"a", "b"}) {
			t.Errorf("%v, %v", names, err)
		}
		if tr.Waiting() != 0 {
			t.Error("the wait is still there")
		}
	})
}

func TestCloseFailsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := New("a", []string{"b", "c"})
		tr.Ack("b", 7)
		c := waiter(tr, t.Context(), 7, policy.All)
		synctest.Wait()
		tr.Close(errClosed)
		if o := <-c; !errors.Is(o.err, errClosed) || !slices.Equal(o.ackedBy, []string{"a", "b"}) {
			t.Errorf("%+v", o)
		}
		if _, err := tr.Wait(t.Context(), 7, policy.All); !errors.Is(err, errClosed) {
			t.Errorf("after the end: %v", err)
		}
		if _, err := tr.Wait(t.Context(), 7, policy.Any); err != nil {
			t.Errorf("what is met stays met: %v", err)
		}
	})
}

func TestSettledWaitsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := New("a", []string{"b"})
		var cut atomic.Int64
		cut.Store(1 << 60)
		wait := func(revision int64) <-chan outcome {
			c := make(chan outcome, 1)
			go func() {
				names, err := tr.WaitUnless(t.Context(), revision, policy.All, func() error {
					if revision > cut.Load() {
						return errClosed
					}
					return nil
				})
				c <- outcome{names, err}
			}()
			return c
		}
		var kept, lost []<-chan outcome
		for i := range int64(50) {
			kept, lost = append(kept, wait(1+i)), append(lost, wait(100+i))
		}
		other := waiter(tr, t.Context(), 120, policy.All)
		synctest.Wait()
		cut.Store(99)
		tr.Settle()
		for _, c := range lost {
			if o := <-c; !errors.Is(o.err, errClosed) || !slices.Equal(o.ackedBy, []string{"a"}) {
				t.Fatalf("beyond the cut: %+v", o)
			}
		}
		if n := tr.Waiting(); n != 51 {
			t.Errorf("%d wait, want 51", n)
		}
		if o := <-wait(100); !errors.Is(o.err, errClosed) {
			t.Errorf("a wait that begins beyond the cut: %+v", o)
		}
		tr.Ack("b", 200)
		for _, c := range append(kept, other) {
			if o := <-c; o.err != nil {
				t.Errorf("up to the cut, and without a judge: %+v", o)
			}
		}
	})
}

func TestForget(t *testing.T) {
	tr := New("a", []string{"b"})
	tr.Ack("b", 7)
	tr.Forget("b")
	if _, known := tr.Acked("b"); known {
		t.Error("still known")
	}
	if !tr.Ack("b", 2) {
		t.Error("a new life starts over")
	}
	tr.Ack("nobody", 1)
	tr.Forget("nobody")
	if _, known := tr.Acked("nobody"); known {
		t.Error("knows a stranger")
	}
}

// TestNoWaitIsEarlyOrForgotten races waits of all policies against advances of all peers.
func TestNoWaitIsEarlyOrForgotten(t *testing.T) {
	peers := []string{"b", "c", "d", "e"}
	tr := New("a", peers)
	const last = 300
	var acked [4]atomic.Int64
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for range 50 {
				revision, p := rng.Int64N(last)+1, policy.Policy(rng.IntN(4))
				ctx, cancel := context.WithCancel(context.Background())
				if rng.IntN(4) == 0 {
					time.AfterFunc(time.Duration(rng.IntN(200))*time.Microsecond, cancel)
				}
				names, err := tr.Wait(ctx, revision, p)
				canceled := ctx.Err() != nil
				cancel()
				if err != nil && !canceled {
					t.Errorf("wait: %v", err)
				}
				if err == nil && !p.Met(5, len(names)) {
					t.Errorf("%s of %d met by %v", p, revision, names)
				}
				for i, name := range peers {
					if slices.Contains(names, name) && acked[i].Load() < revision {
						t.Errorf("%s counted for %d, it has %d", name, revision, acked[i].Load())
					}
				}
			}
		})
	}
	for i, name := range peers {
		wg.Go(func() {
			for r := int64(1); r <= last; r++ {
				acked[i].Store(r) // before the ack, so that an early release is seen
				tr.Ack(name, r)
			}
		})
	}
	wg.Wait()
	if n := tr.Waiting(); n != 0 {
		t.Errorf("%d waits are left", n)
	}
}
