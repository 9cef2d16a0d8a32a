package replication

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestBeatsCoincide counts how often a process is woken for three of them.
func TestBeatsCoincide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &Engine{beats: time.Now()}
		woken, ticks := map[time.Duration]bool{}, 0
		for i, every := range []time.Duration{125 * time.Millisecond, 250 * time.Millisecond, time.Second} {
			time.Sleep(time.Duration(7*i+3) * time.Millisecond) // they begin at odd moments
			b := e.beat(every)
			defer b.stop()
			for range 16 {
				<-b.C
				b.next()
				woken[time.Since(e.beats)%time.Second] = true
				ticks++
				time.Sleep(time.Millisecond) // the work
			}
		}
		if len(woken) != 8 || ticks != 48 {
			t.Errorf("woken at %d moments of a second, want 8: %v", len(woken), woken)
		}
	})
}

func TestABeatThatWasMissedIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &Engine{beats: time.Now()}
		b := e.beat(time.Second)
		defer b.stop()
		<-b.C
		time.Sleep(2500 * time.Millisecond)
		b.next()
		if <-b.C; time.Since(e.beats) != 4*time.Second {
			t.Errorf("the next tick came after %s, want 4s", time.Since(e.beats))
		}
	})
}
