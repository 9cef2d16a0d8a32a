package registrar

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"geogate/replication/homes"
)

// newVoters is three datacenters, the first of them the home, all of which have a vote.
func newVoters(t *testing.T, tune func(*Config)) *world {
	w := newWorld(t, tune, "a", "b", "c")
	w.open("a", 10*time.Second)
	w.votes("b", 10*time.Second)
	w.votes("c", 10*time.Second)
	return w
}

// replace loses a datacenter's data for good, and starts another one in its place, which knows nothing of the one before.
func (w *world) replace(dc string) {
	s := w.dcs[dc]
	s.crash()
	s.mu.Lock()
	s.life.Incarnation += 100
	s.state, s.granted, s.applied = homes.State{}, time.Time{}, map[homes.Life]int64{}
	s.mu.Unlock()
	s.lead()
}

// votes waits until an acceptor has a vote in the open instance.
func (w *world) votes(dc string, within time.Duration) {
	w.t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) { // of the bubble
		r, _ := w.dcs[dc].Register(prefix)
		s := w.dcs[dc].registrar().Status(prefix)
		after, _ := w.dcs[dc].Register(prefix)
		if before := r.State.Barred > r.State.Decided.Epoch; before == (after.State.Barred > after.State.Decided.Epoch) && s.Barred != before {
			w.t.Fatalf("status of %s: %+v, acceptor: %+v", dc, s, r.State)
		}
		if r.State.Decided.Epoch > 0 && !s.Barred {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("%s has no vote after %s: %s", dc, within, s.BarredWhy)
		}
	}
}

// barred waits a while, and says why an acceptor has no vote.
func (w *world) barred(dc string) string {
	w.t.Helper()
	time.Sleep(20 * time.Second)
	s := w.dcs[dc].registrar().Status(prefix)
	if !s.Barred || s.BarredWhy == "" {
		w.t.Fatalf("%s votes: %+v", dc, s)
	}
	return s.BarredWhy
}

// A write is acknowledged by the home and c, and c loses its data. The two others can't take the home's place as long as
// neither has the write, or they would decide without it.
func TestReplacedDatacenterHasNoVoteBeforeItHasCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newVoters(t, nil)
		for range 5 {
			w.write("a")
		}
		w.ship("a", "c") // a majority
		w.replace("c")
		if why := w.barred("c"); !strings.Contains(why, "0 of 5 revisions of a") {
			t.Errorf("c waits for: %s", why)
		}
		if limit, ok := w.dcs["c"].limit(); !ok || limit != 0 {
			t.Errorf("c acknowledges up to %d, %v", limit, ok)
		}
		w.dcs["a"].crash()
		m, err := w.dcs["b"].registrar().FailOver(prefix, 0)
		if err != nil {
			t.Fatal(err)
		}
		if m = w.ended("b", m.ID, 2*time.Minute); m.Result != "aborted" || !strings.Contains(m.Error, "c (barred)") {
			t.Fatalf("failover without the home, to one that lacks a write: %+v", m)
		}
		w.dcs["a"].lead()
		w.open("b", time.Minute) // it goes on with what it began, and now hears of the write
		if at := w.dcs["b"].AppliedOf(w.dcs["a"].Life()); at != 5 {
			t.Errorf("b opened with %d of 5 writes", at)
		}
		w.votes("c", time.Minute)
	})
}

// A datacenter that has its vote back grants no lease for as long as one lasts, not even to itself. A planned move there
// waits for that before it stops writes, not after.
func TestSwitchoverWaitsForTheLeaseThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newVoters(t, nil)
		w.write("a")
		w.ship("a", "b")
		w.replace("c")
		w.ship("a", "c")
		w.votes("c", time.Minute)
		a, c := w.dcs["a"].registrar(), w.dcs["c"].registrar()
		for end := time.Now().Add(10 * time.Second); !strings.Contains(a.keepers[prefix].grantsLater("c"), "has not run out"); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("c grants the lease at once")
			}
		}
		m, err := a.Switch(prefix, "c", 0)
		if err != nil {
			t.Fatal(err)
		}
		began, pause := time.Now(), time.Duration(0)
		time.Sleep(100 * time.Millisecond)
		if s := a.Moves(prefix)[1].Waiting; !a.Standing(prefix).Here || len(s) != 1 || s[0].DC != "c" || !strings.Contains(s[0].Said, "has not run out") {
			t.Errorf("it waits for %+v, and where writes are: %+v", s, a.Standing(prefix))
		}
		for ; !c.Standing(prefix).Here; time.Sleep(10 * time.Millisecond) {
			if !a.Standing(prefix).Here {
				pause += 10 * time.Millisecond
			}
			if time.Since(began) > time.Minute {
				t.Fatalf("c takes no writes: %+v", c.Standing(prefix))
			}
		}
		if m = w.ended("a", m.ID, time.Second); m.Result != "moved" || pause > time.Second {
			t.Errorf("writes stopped for %s, of %s in all: %+v", pause, time.Since(began), m)
		}
		w.replace("b")
		for end := time.Now().Add(10 * time.Second); c.keepers[prefix].grantsLater("b") == ""; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("b has a vote at once")
			}
		}
		if m, err = c.Switch(prefix, "b", 3*time.Second); err != nil {
			t.Fatal(err)
		}
		if m = w.ended("c", m.ID, 10*time.Second); m.Result != "aborted" || !strings.Contains(m.Error, "b could not take writes: ") {
			t.Errorf("to one that has no vote: %+v", m)
		}
	})
}

// What a replaced datacenter promised before, to a proposer that can't be reached, it doesn't remember: it waits for that one.
func TestReplacedDatacenterHasNoVoteWhileAMoveIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newVoters(t, func(c *Config) { c.ReclaimAfter = time.Hour })
		known := w.dcs["b"].decided()
		promise := homes.Command{Kind: homes.Prepare, Keyspace: prefix, Known: known, Ballot: homes.Ballot{Round: 1, DC: "a"}}
		for _, dc := range []string{"b", "c"} {
			if r, err := w.dcs[dc].RegisterCommand(context.Background(), promise); err != nil || r.Answer != homes.Promised {
				t.Fatal(r, err)
			}
		}
		w.isolate("b", true)
		w.replace("c")
		if why := w.barred("c"); !strings.Contains(why, "no answer of b") {
			t.Errorf("c waits for: %s", why)
		}
		w.isolate("b", false)
		if why := w.barred("c"); !strings.Contains(why, "a move is open at b") {
			t.Errorf("c waits for: %s", why)
		}
	})
}

// A datacenter that is late at the beginning waits for a word of everybody, and nothing else changes.
func TestLateDatacenterGetsItsVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b", "c")
		w.dcs["c"].crash()
		w.open("a", 10*time.Second)
		w.write("a")
		w.dcs["b"].crash()
		w.dcs["c"].lead()
		w.ship("a", "c")
		if why := w.barred("c"); !strings.Contains(why, "no answer of b") {
			t.Errorf("c waits for: %s", why)
		}
		w.dcs["b"].lead()
		w.ship("a", "c")
		w.votes("c", 10*time.Second)
		if s := w.open("a", time.Minute); s.Epoch != 1 {
			t.Errorf("epoch %d", s.Epoch)
		}
	})
}

// A home that is replaced before anybody holds it to be down is not the home any more, and another one becomes it by itself.
func TestReplacedHomeFailsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newVoters(t, func(c *Config) { c.Keyspaces[0].Automatic = true })
		w.write("a")
		w.ship("a", "c") // so it is first in rank
		before := w.dcs["a"].Life()
		w.replace("a")
		w.open("c", time.Minute)
		if at := w.dcs["c"].AppliedOf(before); at != 1 {
			t.Errorf("c opened without the write")
		}
		w.votes("a", time.Minute)
	})
}

// A home that was replaced is not the home any more; who takes its place has all that a majority had.
func TestReplacedHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newVoters(t, nil)
		before := w.dcs["a"].Life()
		for range 5 {
			w.write("a")
		}
		w.ship("a", "c")
		w.replace("a")
		if why := w.barred("a"); !strings.Contains(why, "a life that has ended") {
			t.Errorf("a waits for: %s", why)
		}
		if _, err := w.dcs["b"].registrar().FailOver(prefix, 0); err != nil {
			t.Fatal(err)
		}
		w.open("b", time.Minute)
		if at := w.dcs["b"].AppliedOf(before); at != 5 {
			t.Errorf("b opened with %d of 5 writes", at)
		}
		w.votes("a", time.Minute)
	})
}

// Two of three are replaced at once: what they had decided is not known. An operator forces the home, and all is as before.
func TestTwoReplacedDatacenters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newVoters(t, nil)
		w.write("a")
		w.replace("b")
		w.replace("c")
		for _, dc := range []string{"b", "c"} {
			if why := w.barred(dc); !strings.Contains(why, "2 of 3 datacenters are new or lost their data") {
				t.Errorf("%s waits for: %s", dc, why)
			}
		}
		if s := w.dcs["a"].registrar().Standing(prefix); s.Here || !strings.Contains(s.Why, "does not vote yet") {
			t.Errorf("a serves: %+v", s)
		}
		if _, err := w.dcs["a"].registrar().Force(context.Background(), prefix); err != nil {
			t.Fatal(err)
		}
		w.open("a", 10*time.Second)
		time.Sleep(5 * time.Second) // of the bubble: they hear of it
		w.ship("a", "b")
		w.ship("a", "c")
		w.votes("b", time.Minute)
		w.votes("c", time.Minute)
		time.Sleep(time.Minute) // of the bubble: the forced home is put to the vote
		if s := w.open("a", time.Minute); s.Epoch%(1<<32) != 1 || s.Until.IsZero() {
			t.Errorf("a: %+v", s)
		}
	})
}

// Builds that don't say whether a move is open at them give a replaced datacenter its vote in the epoch after the next.
func TestReplacedDatacenterAmongOlderBuilds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a", "b", "c")
		w.older = true
		w.open("a", 10*time.Second)
		w.replace("c")
		w.barred("c")
		if r, _ := w.dcs["c"].Register(prefix); r.State.Barred != 2 {
			t.Fatalf("barred up to %d, want 2: above all that a majority of the others may vote on", r.State.Barred)
		}
		if _, err := w.dcs["a"].registrar().Switch(prefix, "b", 0); err != nil {
			t.Fatal(err)
		}
		w.open("b", time.Minute)
		w.votes("c", time.Minute)
	})
}

// A restored datacenter is barred before it starts, in whatever epoch the backup was.
func TestRestoredDatacenterIsReadmitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newVoters(t, nil)
		w.write("a")
		w.ship("a", "c")
		w.dcs["c"].crash()
		c := homes.Command{Kind: homes.Bar, Keyspace: prefix, Duration: 4 * time.Second}
		if _, err := w.dcs["c"].RegisterCommand(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		w.dcs["c"].lead()
		w.votes("c", 10*time.Second)
		w.isolate("a", true)
		if _, err := w.dcs["b"].registrar().FailOver(prefix, 0); err != nil {
			t.Fatal(err)
		}
		w.open("b", 20*time.Second) // with the vote of c
	})
}

func (s *site) decided() homes.Value {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Decided
}

// limit is up to where the first home's chain may be acknowledged.
func (s *site) limit() (int64, bool) {
	home := s.w.dcs["a"].Life()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.AckLimit(home, s.state.Decided.Epoch)
}
