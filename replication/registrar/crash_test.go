package registrar

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"geogate/replication/homes"
)

// TestCrashAtEveryStep ends the node that drives a move at the beginning of each phase, with everything it had in
// memory, and starts another one there. A home must open again, only one, and with every write that a majority had.
func TestCrashAtEveryStep(t *testing.T) {
	switchover := []homes.Phase{homes.Stopping, homes.CatchingUp, homes.Conceding, homes.Accepting, homes.Announcing}
	failover := []homes.Phase{homes.Claiming, homes.Preparing, homes.Fetching, homes.Accepting, homes.Announcing}
	for _, kind := range []MoveKind{Switchover, Failover} {
		phases := switchover
		if kind == Failover {
			phases = failover
		}
		for _, phase := range phases {
			t.Run(fmt.Sprintf("%s/%s", kind, phase), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { crashAt(t, kind, phase) })
			})
		}
	}
}

// takenUp is how long the next leader of a datacenter takes to end what the last one has begun. A lease is in it.
const takenUp = 8 * time.Second

func crashAt(t *testing.T, kind MoveKind, phase homes.Phase) {
	crashed := make(chan string, 16)
	armed := false
	w := newWorld(t, nil, "a", "b", "c")
	driver := "a"
	if kind == Failover {
		driver = "b"
	}
	w.dcs[driver].crash()
	w.tune = func(c *Config) {
		c.Point = func(_ string, p homes.Phase) error {
			if armed && p == phase {
				armed = false
				crashed <- driver
				return errors.New("crash")
			}
			return nil
		}
	}
	w.dcs[driver].lead()
	w.open("a", 10*time.Second)
	for range 7 {
		w.write("a")
	}
	a := w.dcs["a"].Life()
	w.ship("a", "c") // a majority has them, the target of the failover not
	armed = true
	var err error
	if kind == Switchover {
		w.ship("a", "b")
		_, err = w.dcs["a"].registrar().Switch(prefix, "b", 0)
	} else {
		w.dcs["a"].crash()
		_, err = w.dcs["b"].registrar().FailOver(prefix, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case dc := <-crashed:
		w.dcs[dc].crash()
	case <-time.After(time.Minute):
		t.Fatalf("the move never came to %s: %+v", phase, w.dcs[driver].registrar().Moves(prefix))
	}
	w.tune = nil
	time.Sleep(time.Second)
	w.dcs[driver].lead()
	if kind == Failover {
		w.dcs["a"].crash() // it stays away
	}
	if kind == Failover && phase == homes.Claiming { // nothing was durable yet: the operator begins again
		if _, err := w.dcs["b"].registrar().FailOver(prefix, 0); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	home := w.anyHome(t, 2*time.Minute)
	if took := time.Since(began); took > takenUp {
		t.Errorf("a home took writes %s after the driver was back, want at most %s", took, takenUp)
	}
	if at := w.dcs[home].AppliedOf(a); at < 7 {
		t.Fatalf("%s is home with %d of 7 writes that a majority had", home, at)
	}
	if w.write(home) == 0 {
		t.Error("the home takes no write")
	}
}

// anyHome waits until some datacenter takes writes.
func (w *world) anyHome(t *testing.T, within time.Duration) string {
	t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		home, serving := "", ""
		for n, s := range w.dcs {
			r := s.registrar()
			if r == nil || !r.Standing(prefix).Here && !r.Standing(prefix).Reading {
				continue
			}
			if serving != "" {
				t.Fatalf("two serve: %s and %s", serving, n)
			}
			serving = n
			if r.Standing(prefix).Here {
				home = n
			}
		}
		if home != "" {
			return home
		}
		w.heartbeats(t)
	}
	for n, s := range w.dcs {
		if r := s.registrar(); r != nil {
			t.Logf("%s: %+v %+v", n, r.Standing(prefix), r.Moves(prefix))
		}
	}
	t.Fatalf("no home after %s", within)
	return ""
}

// heartbeats tells every datacenter the epochs of the others, as acks do.
func (w *world) heartbeats(t *testing.T) {
	for from, f := range w.dcs {
		for to, s := range w.dcs {
			if f.registrar() == nil || s.registrar() == nil || w.isCut(from, to) || from == to {
				continue
			}
			f.mu.Lock()
			epoch := f.state.Decided.Epoch
			f.mu.Unlock()
			if err := s.registrar().Learn(t.Context(), from, prefix, epoch); err != nil {
				t.Errorf("%s learns epoch %d of %s: %v", to, epoch, from, err)
			}
		}
	}
}
