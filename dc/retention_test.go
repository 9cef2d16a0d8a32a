package dc

import (
	"fmt"
	"testing"
	"time"

	"geogate/replication/event"
)

func TestRetentionSurvivesAClockThatJumps(t *testing.T) {
	start := time.Now()
	m := moment{wall: start.Add(-time.Minute), steady: start}
	for name, c := range map[string]struct{ wall, want time.Duration }{
		"goes on":     {-time.Minute + time.Second, -time.Minute + time.Second},
		"jumps ahead": {1000 * time.Hour, -time.Minute + time.Second},
		"is set back": {-time.Hour, -time.Hour},
	} {
		if got := m.now(start.Add(c.wall), start.Add(time.Second)); !got.Equal(start.Add(c.want)) {
			t.Errorf("%s: %s, want %s", name, got.Sub(start), c.want)
		}
	}
	if got := (moment{}).now(start, start); !got.Equal(start) {
		t.Errorf("a moment that is not known: %s", got)
	}
}

// A home that was away for long finds its frames old before it hears who is home now. What is on no majority may not
// count: it is taken back by its frames, so they stay.
func TestWhatMayNotCountDoesNotAge(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	a.cfg.RetentionAge, a.cfg.RetentionBytes = time.Hour, 1<<20
	a.lock("k", "1")
	spread(t, dcs)
	for _, r := range dcs {
		r.confirm(a, b, c)
	}
	hear := func() {
		lives := map[string]uint64{}
		for name, r := range dcs {
			lives[name] = r.Incarnation()
		}
		a.Heard(map[string]event.Vector{"a": a.Vector(), "b": b.Vector()}, lives) // c is away
	}
	round := func() map[string]excess {
		e := a.excess()
		if len(e) > 0 {
			a.noted(note{Trim: e})
		}
		return e
	}
	for i := range 5 {
		a.lock("x", fmt.Sprint(i))
	}
	spread(t, map[string]*replica{"a": a, "b": b}) // so these are on a majority
	majority := a.Position("a").Revision
	a.lock("k", "2")
	for i := range 5 {
		a.lock("x", fmt.Sprint("tail", i))
		a.noted(note{})
	}
	a.now = a.now.Add(4 * 24 * time.Hour)
	if e := round(); len(e) > 0 {
		t.Errorf("before anything is heard %v goes", e)
	}
	hear()
	if e := round(); e["a"].Revision != majority {
		t.Errorf("%v goes, want what is on a majority, up to %d", e, majority)
	}
	if e := round(); len(e) > 0 {
		t.Errorf("%v goes once more", e)
	}
	a.compact()
	v := failover(t, b, b, c)
	a.learn(v)
	if got, _ := a.get(locks + "k"); got != "1" {
		t.Errorf("k is %q after its tail was taken back", got)
	}
	a.cfg.RetentionBytes = 1
	if e := a.excess(); e["a"].Revision <= majority {
		t.Errorf("%v is too much: size counts whoever has it", e)
	}
}

// Without homes every write counts, and age is all that matters.
func TestWithoutHomesFramesAge(t *testing.T) {
	a := newReplica(t, "a", "b", "c")
	a.cfg.RetentionAge, a.cfg.RetentionBytes = time.Hour, 1<<20
	for i := range 5 {
		a.put("x", fmt.Sprint(i))
	}
	a.now = a.now.Add(2 * time.Hour)
	if e := a.excess(); e["a"].Revision != a.Position("a").Revision-1 {
		t.Errorf("%v goes of %d", e, a.Position("a").Revision)
	}
}
