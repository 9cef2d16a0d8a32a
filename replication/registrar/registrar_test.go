package registrar

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"geogate/replication/homes"
)

func TestFirstHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b", "c")
		s := w.open("a", 10*time.Second)
		if s.Epoch != 1 || !s.Reading || s.Until.Before(time.Now()) {
			t.Fatalf("got %+v", s)
		}
		for _, dc := range []string{"b", "c"} {
			time.Sleep(time.Second)
			if s := w.dcs[dc].registrar().Standing(prefix); s.Here || s.Reading || s.Home.DC != "a" || !strings.Contains(s.Why, "home is a in epoch 1") {
				t.Errorf("at %s: %+v", dc, s)
			}
		}
	})
}

func TestNoHomeWithoutMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b", "c")
		w.isolate("a", true)
		time.Sleep(time.Minute)
		if s := w.dcs["a"].registrar().Standing(prefix); s.Here || s.Reading || !strings.Contains(s.Why, "no home yet") {
			t.Fatalf("got %+v", s)
		}
		w.isolate("a", false)
		w.open("a", time.Minute)
	})
}

func TestLeaseRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b", "c")
		w.open("a", 10*time.Second)
		w.isolate("a", true)
		time.Sleep(4 * time.Second)
		s := w.dcs["a"].registrar().Standing(prefix)
		if s.Here || s.Reading || !strings.Contains(s.Why, "run out") {
			t.Fatalf("cut off for a lease: %+v", s)
		}
		if rev := w.write("a"); rev != 0 {
			t.Fatalf("a write was taken without a lease, at %d", rev)
		}
		w.isolate("a", false)
		w.open("a", 10*time.Second)
	})
}

func TestSwitchoverThereAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b", "c")
		w.open("a", 10*time.Second)
		for range 10 {
			w.write("a")
		}
		from, to := "a", "b"
		for range 2 {
			m, err := w.dcs[from].registrar().Switch(prefix, to, 0)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if s := w.dcs[from].registrar().Standing(prefix); s.Here || !s.Reading {
				t.Fatalf("draining, and the target lacks all: %+v", s)
			}
			w.ship(from, to)
			began := time.Now()
			if m = w.ended(from, m.ID, 20*time.Second); m.Result != "moved" || m.Home != to {
				t.Fatalf("got %+v", m)
			}
			w.open(to, 10*time.Second)
			if took := time.Since(began); took > 2*time.Second { // the lease is given back, not waited for
				t.Errorf("a switchover took %s", took)
			}
			if w.dcs[to].AppliedOf(w.dcs[from].Life()) < w.dcs[from].AppliedOf(w.dcs[from].Life()) {
				t.Error("a write of before the switchover is missing")
			}
			w.write(to)
			from, to = to, from
		}
	})
}

func TestSwitchoverIsGivenUpAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b", "c")
		w.open("a", 10*time.Second)
		w.write("a")
		m, err := w.dcs["a"].registrar().Switch(prefix, "b", 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.dcs["a"].registrar().Switch(prefix, "c", 0); !errors.Is(err, ErrMoving) || !strings.Contains(err.Error(), "to b") {
			t.Errorf("a second operator: %v", err)
		}
		if m = w.ended("a", m.ID, 10*time.Second); m.Result != "aborted" || !strings.Contains(m.Error, "revisions 0 to 1 of a at b") {
			t.Fatalf("got %+v", m)
		}
		if s := w.open("a", time.Second); s.Epoch != 1 {
			t.Errorf("got %+v", s)
		}
	})
}

func TestSwitchoverIsAborted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b", "c")
		w.open("a", 10*time.Second)
		w.write("a")
		a := w.dcs["a"].registrar()
		if err := a.Abort(prefix); !errors.Is(err, ErrNoMove) {
			t.Errorf("nothing to abort: %v", err)
		}
		m, err := a.Switch(prefix, "b", 0)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := errors.Join(a.Abort(prefix), a.Abort(prefix)); err != nil {
			t.Fatal(err)
		}
		if m = w.ended("a", m.ID, 10*time.Second); m.Result != "aborted" {
			t.Fatalf("got %+v", m)
		}
		w.open("a", time.Second)
	})
}

func TestFailoverFetchesWhatAMajorityHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b", "c")
		w.open("a", 10*time.Second)
		for range 5 {
			w.write("a")
		}
		w.ship("a", "c")
		life := w.dcs["a"].Life()
		w.write("a") // known to a alone
		w.dcs["a"].crash()
		m, err := w.dcs["b"].registrar().FailOver(prefix, 0)
		if err != nil {
			t.Fatal(err)
		}
		if s := w.open("b", 20*time.Second); s.Epoch != 2 {
			t.Errorf("got %+v", s)
		}
		if m = w.ended("b", m.ID, 30*time.Second); m.Result != "moved" {
			t.Fatalf("got %+v", m)
		}
		if at := w.dcs["b"].AppliedOf(life); at != 5 {
			t.Errorf("b opened with %d of a's writes, c has 5", at)
		}
		w.dcs["a"].lead() // it returns, and learns
		time.Sleep(10 * time.Second)
		if s := w.dcs["a"].registrar().Standing(prefix); s.Here || s.Epoch != 2 {
			t.Errorf("the old home is back: %+v", s)
		}
		w.open("b", time.Second)
	})
}

func TestTwoOperatorsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b", "c")
		w.open("a", 10*time.Second)
		w.dcs["a"].crash()
		b, err := w.dcs["b"].registrar().FailOver(prefix, 0)
		c, cerr := w.dcs["c"].registrar().FailOver(prefix, 0)
		if err := errors.Join(err, cerr); err != nil {
			t.Fatal(err)
		}
		b, c = w.ended("b", b.ID, time.Minute), w.ended("c", c.ID, time.Minute)
		won, lost, winner := b, c, "b"
		if c.Result == "moved" {
			won, lost, winner = c, b, "c"
		}
		if won.Result != "moved" || lost.Result != "lost" || !strings.Contains(lost.Error, "is now "+winner+" in epoch 2") {
			t.Fatalf("b: %+v\nc: %+v", b, c)
		}
		w.open(winner, 10*time.Second)
	})
}

func TestForeignCommandsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b", "c")
		w.open("a", 10*time.Second)
		known := w.dcs["a"].state.Decided
		base := homes.Command{Keyspace: prefix, Known: known, Ballot: homes.Ballot{Round: 9, DC: "b"}}
		for _, kind := range []homes.Kind{homes.Extend, homes.Drain, homes.Resume, homes.Bar, homes.Admit, homes.Force} {
			c := base
			c.Kind = kind
			if _, err := w.dcs["a"].registrar().Serve(t.Context(), "b", c); !errors.Is(err, ErrForbidden) {
				t.Errorf("%s from b: %v", kind, err)
			}
		}
		for _, kind := range []homes.Kind{homes.Prepare, homes.Accept} {
			c := base
			c.Kind = kind
			if _, err := w.dcs["a"].registrar().Serve(t.Context(), "c", c); !errors.Is(err, ErrForbidden) {
				t.Errorf("%s of b's ballot from c: %v", kind, err)
			}
		}
		renew := homes.Command{Kind: homes.Renew, Keyspace: prefix, Known: known, Duration: time.Second}
		if _, err := w.dcs["b"].registrar().Serve(t.Context(), "c", renew); !errors.Is(err, ErrForbidden) {
			t.Errorf("renewal for a from c: %v", err)
		}
		other := homes.Command{Kind: homes.Learn, Keyspace: "/else/"}
		if _, err := w.dcs["b"].registrar().Serve(t.Context(), "c", other); !errors.Is(err, ErrKeyspace) {
			t.Errorf("a keyspace that is not known: %v", err)
		}
		if w.dcs["a"].state.Fenced() || w.dcs["a"].state.Draining {
			t.Error("a refused command changed the acceptor")
		}
	})
}

func TestForcedHomeConfirmsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b", "c")
		w.open("a", 10*time.Second)
		w.dcs["a"].crash()
		w.dcs["c"].crash()
		time.Sleep(10 * time.Second)
		v, err := w.dcs["b"].registrar().Force(t.Context(), prefix)
		if err != nil {
			t.Fatal(err)
		}
		if s := w.open("b", time.Second); !s.Until.IsZero() || !s.Reading || s.Epoch != v.Epoch {
			t.Errorf("forced and alone: %+v", s)
		}
		time.Sleep(time.Minute)
		w.open("b", time.Second) // it doesn't fence itself while there is no majority
		w.dcs["c"].lead()
		time.Sleep(20 * time.Second)
		if s := w.open("b", 10*time.Second); s.Epoch != v.Epoch+1 || s.Until.IsZero() {
			t.Errorf("a majority is back: %+v", s)
		}
		w.dcs["a"].lead()
		time.Sleep(10 * time.Second)
		if s := w.dcs["a"].registrar().Standing(prefix); s.Here || s.Home.DC != "b" {
			t.Errorf("the home that was forced away: %+v", s)
		}
	})
}

func TestAutomaticFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Keyspaces[0].Automatic = true }, "a", "b", "c")
		w.open("a", 10*time.Second)
		w.write("a")
		w.ship("a", "c")
		w.dcs["a"].crash()
		w.open("c", time.Minute) // it has more than b
		if n := len(w.dcs["b"].registrar().Moves(prefix)); n != 0 {
			t.Errorf("b tried too: %+v", w.dcs["b"].registrar().Moves(prefix))
		}
		w.dcs["a"].lead()
		time.Sleep(10 * time.Second)
		w.dcs["c"].crash()
		time.Sleep(4 * time.Minute)
		for _, dc := range []string{"a", "b"} {
			if s := w.dcs[dc].registrar().Standing(prefix); s.Here {
				t.Errorf("%s is home again within the hold-off", dc)
			}
		}
	})
}

func TestWitnessDecidesAndHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b", "w")
		w.open("a", 10*time.Second)
		w.write("a")
		w.ship("a", "b")
		w.dcs["a"].crash()
		if _, err := w.dcs["w"].registrar().FailOver(prefix, 0); !errors.Is(err, ErrTarget) {
			t.Errorf("failover to a witness: %v", err)
		}
		if _, err := w.dcs["b"].registrar().FailOver(prefix, 0); err != nil {
			t.Fatal(err)
		}
		w.open("b", 20*time.Second)
		if _, err := w.dcs["b"].registrar().Switch(prefix, "w", 0); !errors.Is(err, ErrTarget) {
			t.Errorf("switchover to a witness: %v", err)
		}
	})
}

// TestFailoverOfAnIsolatedHome leaves the home alive and alone: it must have stopped before the next one opens.
func TestFailoverOfAnIsolatedHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b", "c")
		w.open("a", 10*time.Second)
		w.isolate("a", true)
		if _, err := w.dcs["b"].registrar().FailOver(prefix, 0); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		w.open("b", 20*time.Second)
		if took := time.Since(began); took < 2*time.Second || took > 8*time.Second {
			t.Errorf("b opened after %s, the lease is of 4 s", took)
		}
		w.isolate("a", false)
		time.Sleep(10 * time.Second)
		if s := w.dcs["a"].registrar().Standing(prefix); s.Here || s.Reading || s.Epoch != 2 {
			t.Errorf("the old home is back: %+v", s)
		}
	})
}

// TestReadsStopBeforeTheLeaseIsGivenBack looks at the home in the moment in which it proposes its successor.
func TestReadsStopBeforeTheLeaseIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b", "c")
		w.open("a", 10*time.Second)
		a, proposed := w.dcs["a"], 0
		a.mu.Lock()
		a.before = func(c homes.Command) {
			if c.Kind != homes.Accept || !c.First {
				return
			}
			proposed++
			if s := a.registrar().Standing(prefix); s.Reading || s.Here {
				t.Errorf("the home still serves: %+v", s)
			}
		}
		a.mu.Unlock()
		if _, err := a.registrar().Switch(prefix, "b", 0); err != nil {
			t.Fatal(err)
		}
		w.open("b", 10*time.Second)
		if proposed == 0 {
			t.Error("it never proposed")
		}
	})
}

// TestConcededHomeAsksForNoLease crashes the home behind its own vote for a successor, of which nobody else has heard:
// others would grant it its lease again, and then hear that it gave it back.
func TestConcededHomeAsksForNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.ReclaimAfter, c.RivalWait = time.Hour, time.Hour }, "a", "b", "c")
		w.open("a", 10*time.Second)
		a, b := w.dcs["a"], w.dcs["b"]
		a.crash()
		known := a.state.Decided
		next := homes.Value{Epoch: known.Epoch + 1, Home: b.Life(), Past: []homes.Tenure{{Epoch: known.Epoch, Home: known.Home}}}
		for _, c := range []homes.Command{
			{Kind: homes.Drain, Keyspace: prefix, Known: known},
			{Kind: homes.Accept, Keyspace: prefix, Known: known, Ballot: homes.Ballot{DC: "a"}, Value: next, First: true, Drained: true},
		} {
			if r, err := a.RegisterCommand(t.Context(), c); err != nil || r.Answer == homes.Refused {
				t.Fatalf("%s: %+v, %v", c.Kind, r, err)
			}
		}
		before, _ := b.Register(prefix)
		a.lead()
		time.Sleep(10 * time.Second)
		after, _ := b.Register(prefix)
		if before.State.Lease.Number != after.State.Lease.Number {
			t.Errorf("b granted it again: %+v, before %+v", after.State.Lease, before.State.Lease)
		}
		if s := a.registrar().Standing(prefix); s.Here || s.Reading {
			t.Errorf("got %+v", s)
		}
	})
}

// TestHoldOffOutlivesTheLeader changes every leader after a failover: the next ones must not start another one any
// sooner.
func TestHoldOffOutlivesTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Keyspaces[0].Automatic = true }, "a", "b", "c", "d", "e")
		w.open("a", 10*time.Second)
		w.write("a")
		w.ship("a", "c")
		w.dcs["a"].crash()
		w.open("c", time.Minute)
		moved := time.Now()
		w.dcs["a"].lead()
		time.Sleep(time.Minute)
		for _, s := range w.dcs {
			s.crash()
			s.lead()
		}
		w.open("c", 10*time.Second)
		if s := w.dcs["b"].registrar().Status(prefix); !s.Automatic || s.HoldOffUntil == nil || s.HoldOffUntil.Sub(moved) < 4*time.Minute+50*time.Second {
			t.Errorf("b, whose leader is new, holds off until %v; the home moved at %s", s.HoldOffUntil, moved)
		}
		w.dcs["c"].crash()
		time.Sleep(3 * time.Minute)
		for _, dc := range []string{"a", "b", "d", "e"} {
			if s := w.dcs[dc].registrar().Standing(prefix); s.Here || s.Epoch != 2 {
				t.Errorf("%s knows epoch %d within the hold-off", dc, s.Epoch)
			}
		}
		home := w.anyHome(t, 2*time.Minute)
		if at := time.Since(moved); at < 5*time.Minute-5*time.Second {
			t.Errorf("%s is home %s after the last move, the hold-off is 5m", home, at)
		}
	})
}

// TestHoldOffEndsWhenAClockWasAhead gives the next leaders a time of the last move that is a year ahead of their clocks.
func TestHoldOffEndsWhenAClockWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Keyspaces[0].Automatic = true }, "a", "b", "c")
		w.open("a", 10*time.Second)
		w.write("a")
		w.ship("a", "b")
		w.dcs["a"].crash()
		w.open("b", time.Minute)
		w.dcs["a"].lead()
		time.Sleep(10 * time.Second)
		for _, dc := range []string{"a", "c"} {
			s := w.dcs[dc]
			s.crash()
			s.mu.Lock()
			s.state.Moved = time.Now().Add(365 * 24 * time.Hour).UnixNano()
			s.mu.Unlock()
			s.lead()
		}
		time.Sleep(time.Second)
		w.dcs["b"].crash()
		w.anyHome(t, 6*time.Minute)
	})
}
