package event

import (
	"sync"
	"testing"
	"time"
)

func TestClockOnlyGrows(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	c := NewClock(func() time.Time { return now })
	a := c.Next(1)
	if a.Time() != now || a.Counter() != 0 {
		t.Errorf("first reading %s", a)
	}
	if b := c.Next(3); b != a+1 {
		t.Errorf("second reading in the same millisecond: %s after %s", b, a)
	}
	now = now.Add(-time.Hour)
	if b := c.Next(1); b != a+4 {
		t.Errorf("the wall clock ran back: %s after %s", b, a)
	}
	far := StampAt(now.Add(2 * time.Hour))
	c.Observe(far)
	if b := c.Next(1); b != far+1 {
		t.Errorf("after observing %s: %s", far, b)
	}
	c.Observe(1)
	if b := c.Next(1 << 17); b != far+2 {
		t.Errorf("observing an old stamp moved the clock: %s", b)
	}
}

func TestClockGivesEachStampOnce(t *testing.T) {
	c := NewClock(nil)
	var mu sync.Mutex
	seen := map[Stamp]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				s := c.Next(2)
				mu.Lock()
				if seen[s] || seen[s+1] {
					t.Errorf("%s twice", s)
				}
				seen[s], seen[s+1] = true, true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestLaterIsATotalOrder(t *testing.T) {
	for _, c := range []struct {
		a    Stamp
		ao   string
		b    Stamp
		bo   string
		want bool
	}{{2, "a", 1, "z", true}, {1, "z", 2, "a", false}, {1, "b", 1, "a", true}, {1, "a", 1, "b", false}, {1, "a", 1, "a", false}} {
		if got := Later(c.a, c.ao, c.b, c.bo); got != c.want {
			t.Errorf("Later(%d, %s, %d, %s) = %v", c.a, c.ao, c.b, c.bo, got)
		}
	}
}
