package drill

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"geogate/replication/policy"
)

var t0 = time.Unix(1_800_000_000, 0)

func at(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }

func TestGaugeMeasuresPausesAndErrors(t *testing.T) {
	g := newGauge(t0)
	g.acked(at(1))
	g.fail(at(1.5)) // known at 3
	g.acked(at(4))
	g.acked(at(4.5))
	g.fail(at(4)) // began before the last success: only from there on
	g.look(at(5))
	if g.pause != 3*time.Second || !g.pauseAt.Equal(at(1)) || g.window != 2500*time.Millisecond || !g.windowAt.Equal(at(1.5)) {
		t.Errorf("pause %s at %s, window %s at %s", g.pause, g.pauseAt, g.window, g.windowAt)
	}
	if g.failing != at(4.5) {
		t.Errorf("fails since %s", g.failing)
	}
}

func TestGaugeLeavesOutWhatTheDrillDid(t *testing.T) {
	g := newGauge(t0)
	g.acked(at(1))
	g.excuse(at(2))
	g.acked(at(2.1)) // was on its way
	g.fail(at(3))
	g.look(at(20))
	g.resume()
	g.look(at(21))
	g.acked(at(22))
	g.acked(at(22.5))
	if g.pause != time.Second || g.window != 0 {
		t.Errorf("pause %s, window %s", g.pause, g.window)
	}
	g.look(at(26))
	if g.pause != 3500*time.Millisecond {
		t.Errorf("after the excuse the pause is %s", g.pause)
	}
}

func TestRecoveryTime(t *testing.T) {
	ok := func(began, now float64, dc int, origin string) attempt {
		return attempt{at(began), at(now), dc, origin}
	}
	bad := func(began, now float64, dc int) attempt { return attempt{at(began), at(now), dc, ""} }
	far := at(100)
	for name, c := range map[string]struct {
		home  string
		all   []attempt
		want  float64
		known bool
	}{
		"nothing failed":           {"", []attempt{ok(9, 9.1, 0, "a"), ok(11, 11.1, 0, "a")}, 0, false},
		"failed before":            {"", []attempt{bad(9, 12, 0), ok(13, 13.1, 1, "b")}, 0, false},
		"elsewhere":                {"", []attempt{bad(10.5, 15, 0), ok(10.6, 10.8, 1, "b"), ok(16, 16.1, 0, "a")}, 0.3, true},
		"not at the one that fell": {"", []attempt{bad(11, 12, 0), ok(12, 12.5, 0, "a"), ok(13, 13.5, 1, "b")}, 2.5, true},
		"the new home":             {"a", []attempt{bad(11, 12, 1), ok(11.5, 11.6, 1, "a"), ok(14, 15, 1, "b")}, 4, true},
		"began before the failure": {"a", []attempt{bad(11, 12, 1), ok(10.5, 11.6, 1, "b"), ok(12, 13, 1, "b")}, 2, true},
		"never":                    {"a", []attempt{bad(11, 12, 1)}, 19, true},
		"of the next fault":        {"a", []attempt{bad(200, 201, 1)}, 0, false},
	} {
		f := &fault{at: at(10), home: c.home}
		got, known := f.rto(c.all, far, at(30))
		if known != c.known || got.Seconds() != c.want {
			t.Errorf("%s: %s, %t, want %gs, %t", name, got, known, c.want, c.known)
		}
	}
}

func TestDetection(t *testing.T) {
	f := &fault{at: at(1), sees: func(o, s string) bool { return o == "a" && s == "b" }}
	f.health(at(2), "a", "b", "suspected")
	f.health(at(3), "b", "a", "down")
	if !f.detected.IsZero() {
		t.Error("detected by what is no sign of it")
	}
	f.health(at(4), "a", "b", "down")
	f.health(at(5), "a", "b", "down")
	b := &book{faults: []*fault{{what: "link"}, f}}
	if d := b.detectLocked(); d == nil || *d != 3 {
		t.Errorf("detected after %v", d)
	}
	b.faults = append(b.faults, &fault{at: at(6), what: "unseen", sees: f.sees})
	if d := b.detectLocked(); d != nil || b.undetected() != "unseen" {
		t.Errorf("one is not noticed, and it was detected after %v", *d)
	}
}

func TestBeatsTellTheAgeOfARead(t *testing.T) {
	b := &beats{}
	for i := range maxBeats + 10 { // past the ring's end
		b.add(beat{int64(i), at(float64(i))})
	}
	last := float64(maxBeats + 9)
	if got := b.age(int64(last), at(last+100)); got != 0 {
		t.Errorf("the newest was seen: %s", got)
	}
	if got := b.age(int64(last)-3, at(last+1)); got != 3*time.Second {
		t.Errorf("three were not seen: %s", got)
	}
	if got := b.age(int64(last)-1, at(last)); got != 0 {
		t.Errorf("it was acknowledged after the read began: %s", got)
	}
	if got := b.age(0, at(last)); got != time.Duration(maxBeats-1)*time.Second {
		t.Errorf("older than the ring: %s", got)
	}
}

// a book of two datacenters with an acknowledged put and two raised counters.
func aBook(single bool) (*book, map[string]string) {
	b := newBook([]string{"a", "b"}, "/p/id/", single, t0)
	o := outcome{dc: 0, began: at(1), now: at(1.1), token: policy.Token{Origin: "a", Revision: 7}, ackedBy: []string{"a"}}
	b.put(o, 0, 1, 111)
	o.token.Revision, o.ackedBy = 8, []string{"a", "b"}
	b.put(o, 0, 2, 222)
	b.raised(o, b.counterKey(0, 0), 1)
	o.token.Revision, o.ackedBy = 9, []string{"a"}
	b.raised(o, b.counterKey(0, 0), 2)
	return b, map[string]string{
		b.key(0, 0, 1): "111", b.key(0, 0, 2): "222", b.counterKey(0, 0): "2",
	}
}

func TestLostWritesAreFound(t *testing.T) {
	b, have := aBook(false)
	if lost := b.lost(have); len(lost) != 0 {
		t.Fatalf("nothing is lost, found %v", lost)
	}
	for name, c := range map[string]struct {
		change func(map[string]string)
		want   []string
	}{
		"gone":         {func(m map[string]string) { delete(m, b.key(0, 0, 1)) }, []string{b.key(0, 0, 1)}},
		"other value":  {func(m map[string]string) { m[b.key(0, 0, 2)] = "1" }, []string{b.key(0, 0, 2)}},
		"counter back": {func(m map[string]string) { m[b.counterKey(0, 0)] = "1" }, []string{b.counterKey(0, 0) + "=2"}},
		"no counter":   {func(m map[string]string) { delete(m, b.counterKey(0, 0)) }, []string{b.counterKey(0, 0) + "=1", b.counterKey(0, 0) + "=2"}},
		"unacked more": {func(m map[string]string) { m[b.counterKey(0, 0)] = "9"; m["/p/id/w/a/00/00000099"] = "1" }, nil},
	} {
		m := map[string]string{}
		for k, v := range have {
			m[k] = v
		}
		c.change(m)
		got := b.lost(m)
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: lost %v, want %v", name, got, c.want)
		}
	}
}

func TestTwoHomesAreFound(t *testing.T) {
	b, have := aBook(true)
	o := outcome{dc: 1, began: at(2), now: at(2.1), token: policy.Token{Origin: "b", Revision: 3}}
	b.raised(o, b.counterKey(1, 0), 2) // the other home gave it the same value
	lost := b.lost(have)
	if len(lost) != 1 || lost[0] != "/p/id/counter/all=2 (acknowledged twice)" {
		t.Errorf("lost %v", lost)
	}
}

func TestWritesAtRisk(t *testing.T) {
	b, _ := aBook(false)
	count := func() (n int) {
		for _, w := range b.writes {
			if w.risked {
				n++
			}
		}
		return n
	}
	b.risk("b", 0)
	b.risk("a", 9)
	if n := count(); n != 0 {
		t.Errorf("%d writes at risk, and the others have all", n)
	}
	b.risk("a", 8)
	if n := count(); n != 1 {
		t.Errorf("%d writes at risk, want the one that raised the counter", n)
	}
	b.risk("a", 6)
	b.risk("a", 6) // twice the same writes
	if n := count(); n != 2 {
		t.Errorf("%d writes at risk, want the two that were acknowledged by a alone", n)
	}
}

func TestTimelineCountsNothingToo(t *testing.T) {
	l := timeline{dcs: []string{"a", "b"}}
	for i := range 5 {
		l.acked(time.Second, 0, time.Duration(i+1)*time.Millisecond)
	}
	l.failed(100*time.Millisecond, 1)
	l.stale(2*time.Second, 1, time.Second)
	p := l.points()
	if len(p) != 10 {
		t.Fatalf("%d points, want 5 half seconds of two", len(p))
	}
	if x := p[4]; x.At != 1 || x.DC != "a" || x.Acknowledged != 5 || *x.P50 != 3 || *x.Max != 5 {
		t.Errorf("got %+v", x)
	}
	if p[1].Failed != 1 || p[1].P50 != nil || p[8].Stale != nil || *p[9].Stale != 1000 {
		t.Errorf("got %+v", p)
	}
}

func TestObjectives(t *testing.T) {
	second, lots := time.Second, 3
	o := Objectives{WritePause: &second, ErrorWindow: &second, Detect: &second, RTO: &second, StaleReads: &second, AtRisk: &lots}
	lost, one := 1, 1.0
	r := &Report{WritePause: 1, ErrorWindow: 1.01, StaleRead: 0, AtRisk: 4, AcknowledgedLost: &lost}
	want := map[string]bool{
		objectivePause: true, objectiveWindow: false, objectiveDetect: false, objectiveRTO: true, objectiveStale: true, objectiveLost: false, objectiveRisk: false,
	}
	for _, x := range o.judge(r) {
		if x.Passed != want[x.Name] {
			t.Errorf("%+v", x)
		}
		delete(want, x.Name)
	}
	if len(want) > 0 {
		t.Errorf("not judged: %v", want)
	}
	r.Detect, r.AcknowledgedLost = &one, nil
	for _, x := range (&Objectives{Detect: &second}).judge(r) {
		if x.Passed != (x.Name == objectiveDetect) { // what could not be looked for is no success
			t.Errorf("%+v", x)
		}
	}
}

func TestGuardEndsAHopelessDrill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := time.Second
		d := &drill{scenario: Scenario{AbortFactor: 5, Objectives: Objectives{WritePause: &limit}}, book: newBook([]string{"a"}, "/p/", false, time.Now())}
		ctx, abort := context.WithCancelCause(t.Context())
		began := time.Now()
		d.guard(ctx, abort)
		if err := context.Cause(ctx); !errors.Is(err, errAborted) || !strings.Contains(err.Error(), "write_pause has reached") {
			t.Errorf("ended with %v", err)
		}
		if took := time.Since(began); took < 6*time.Second || took > 7*time.Second {
			t.Errorf("ended after %s, want a little more than the objective and %s", took, abortFloor)
		}
	})
}

func TestTicks(t *testing.T) {
	for most, want := range map[float64][]float64{
		0: {0, 0.2, 0.4, 0.6, 0.8, 1}, 42: {0, 10, 20, 30, 40, 50}, 9: {0, 2, 4, 6, 8, 10}, 100: {0, 20, 40, 60, 80, 100},
	} {
		got := ticks(most)
		for i := range got {
			got[i], _ = strconv.ParseFloat(strconv.FormatFloat(got[i], 'g', 6, 64), 64)
		}
		if len(got) == 0 || got[len(got)-1] < most || !slices.Equal(got, want) {
			t.Errorf("up to %g: %v, want %v", most, got, want)
		}
	}
}
