package dc

import (
	"testing"
	"time"
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
