package replication

import (
	"testing"
	"time"
)

// TestSpacing: what is written slowly goes at once, and the more is written the further apart shipments go, within the bound.
func TestSpacing(t *testing.T) {
	const most = 20 * time.Millisecond
	start := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		every      time.Duration // between writes
		least, max time.Duration // between shipments, once it has settled
	}{
		{100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond},
		{10 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond},
		{time.Millisecond, time.Millisecond, time.Millisecond},
		{250 * time.Microsecond, 3 * time.Millisecond, 6 * time.Millisecond},
		{10 * time.Microsecond, most, most + 10*time.Microsecond},
	} {
		var s spacing
		shipped, waiting := start, 0
		for now := start; now.Before(start.Add(time.Second)); now = now.Add(c.every) {
			waiting++
			if s.next(now, most) > 0 {
				continue
			}
			if apart := now.Sub(shipped); now.Sub(start) > 200*time.Millisecond && (apart < c.least || apart > c.max) {
				t.Errorf("a write each %s: shipments %s apart, want %s to %s", c.every, apart, c.least, c.max)
			}
			s.sent(now, waiting)
			shipped, waiting = now, 0
		}
	}
}
