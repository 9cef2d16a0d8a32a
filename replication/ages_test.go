package replication

import (
	"testing"
	"time"
)

func TestAges(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	var a ages
	a.note(at(0), 10, 0)   // there before
	a.note(at(0.1), 10, 0) // nothing new
	a.note(at(0.2), 12, 0)
	a.note(at(0.3), 12, 0)
	for name, c := range map[string]struct {
		acked   int64
		byStamp time.Duration // at 10 s
		want    float64
	}{
		"older than this leader, plausible":   {5, 60 * time.Second, 60},
		"older than this leader, stamp ahead": {5, -time.Hour, 10},
		"seen, plausible":                     {10, 9850 * time.Millisecond, 9.85},
		"seen, stamp ahead":                   {10, -time.Hour, 9.8},
		"seen, clock jumped an hour ahead":    {11, time.Hour, 9.9},
		"not seen yet, clock jumped":          {12, time.Hour, 9.7},
		"not seen yet, stamp ahead":           {12, -time.Hour, 0},
		"not seen yet, plausible":             {12, time.Second, 1},
	} {
		if got := a.of(at(10), c.acked, c.byStamp).Seconds(); got != c.want {
			t.Errorf("%s: %v s, want %v", name, got, c.want)
		}
	}
	a.note(at(0.4), 20, 12)
	if len(a.seen) != 1 || a.seen[0].revision != 20 {
		t.Errorf("what is confirmed is kept: %v", a.seen)
	}
	a.note(at(0.5), 20, 99)
	if len(a.seen) != 1 {
		t.Errorf("the newest is gone: %v", a.seen)
	}
}

func TestAgesAreBounded(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	var a ages
	now := start
	const step = 100 * time.Millisecond
	for i := range int64(20 * maxAges) {
		now = start.Add(time.Duration(i) * step)
		a.note(now, i, -1)
		if len(a.seen) > maxAges {
			t.Fatalf("%d sightings", len(a.seen))
		}
	}
	for _, acked := range []int64{0, 1000, 10 * maxAges, 20*maxAges - 10} {
		really := now.Sub(start.Add(time.Duration(acked+1) * step))
		got := a.of(now, acked, -time.Hour)
		if got < really || got > really+really/100+128*step {
			t.Errorf("behind %d: %s, is %s", acked, got, really)
		}
	}
}
