package wan

import (
	"math/rand/v2"
	"testing"
	"time"
)

func newPacer() *pacer { return &pacer{rnd: rand.New(rand.NewPCG(1, 2))} }

func TestPacerDelaysAndKeepsTheOrder(t *testing.T) {
	p, now, last := newPacer(), time.Unix(0, 0), time.Time{}
	c := Conditions{Delay: 50 * time.Millisecond, Jitter: 40 * time.Millisecond}
	spread := map[time.Duration]bool{}
	for range 1000 {
		now = now.Add(time.Millisecond)
		at, f := p.next(now, 100, c)
		if f != carried || at.Before(last) {
			t.Fatalf("sent at %s: fate %d, arrives at %s, the one before at %s", now, f, at, last)
		}
		if d := at.Sub(now); d < 10*time.Millisecond || d > 90*time.Millisecond {
			t.Fatalf("delayed by %s, want 10 to 90 ms", d)
		}
		spread[at.Sub(now)] = true
		last = at
	}
	if len(spread) < 50 {
		t.Errorf("%d different delays, want a spread", len(spread))
	}
}

func TestPacerLosesItsShare(t *testing.T) {
	p, gone := newPacer(), 0
	for range 10_000 {
		if _, f := p.next(time.Unix(0, 0), 100, Conditions{Loss: 0.1}); f == lost {
			gone++
		}
	}
	if gone < 900 || gone > 1100 {
		t.Errorf("%d of 10000 packets lost, want about 1000", gone)
	}
}

func TestPacerSpreadsOverTheBandwidthAndDropsTheTail(t *testing.T) {
	p, start := newPacer(), time.Unix(0, 0)
	c := Conditions{BitsPerSecond: 8_000_000, QueueBytes: 10_000} // a byte is a microsecond
	var arrived int
	var last time.Time
	for range 100 {
		at, f := p.next(start, 1000, c)
		if f == carried {
			arrived++
			last = at
		}
	}
	if arrived != 11 || last.Sub(start) != 11*time.Millisecond {
		t.Errorf("%d packets carried until %s, want the one on the way, ten in the queue and 11ms", arrived, last.Sub(start))
	}
	if at, f := p.next(start.Add(time.Second), 1000, c); f != carried || at.Sub(start) != 1001*time.Millisecond {
		t.Errorf("after a pause: fate %d at %s, want the bandwidth to be free again", f, at.Sub(start))
	}
}

func TestCutCarriesNothing(t *testing.T) {
	if _, f := newPacer().next(time.Unix(0, 0), 1, Conditions{Cut: true, Delay: time.Second}); f != cut {
		t.Errorf("fate %d", f)
	}
}

func TestConditionsReadWell(t *testing.T) {
	for want, c := range map[string]Conditions{
		"perfect":                               {},
		"cut":                                   {Cut: true, Delay: time.Second},
		"150ms±5ms one way, 1 % loss, 2 Mbit/s": {Delay: 150 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.01, BitsPerSecond: 2e6},
	} {
		if c.String() != want {
			t.Errorf("%q, want %q", c, want)
		}
	}
}

func TestPacerKeepsBackLargePackets(t *testing.T) {
	p, now := newPacer(), time.Unix(0, 0)
	c := Conditions{MostBytes: 300}
	if _, f := p.next(now, 300, c); f != carried {
		t.Errorf("a packet of 300 bytes: fate %d, want it carried", f)
	}
	if _, f := p.next(now, 301, c); f != dropped {
		t.Errorf("a packet of 301 bytes: fate %d, want it dropped", f)
	}
}
