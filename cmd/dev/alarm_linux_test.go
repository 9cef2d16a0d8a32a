package dev

import (
	"testing"
	"time"
)

// TestAlarmRingsOnTime counts those rings that come on time, because a busy machine makes any of them late. Of
// Go's timers hardly one does, since an idle process sleeps for whole milliseconds.
func TestAlarmRingsOnTime(t *testing.T) {
	a := newAlarm()
	defer a.close()
	const (
		wait   = 1300 * time.Microsecond
		onTime = 200 * time.Microsecond
		rings  = 100
		want   = rings / 10
	)
	punctual, best := 0, time.Hour
	for range rings {
		begin := time.Now()
		<-a.in(wait)
		late := time.Since(begin) - wait
		if late < 0 {
			t.Fatalf("rang %s early", -late)
		}
		if late < onTime {
			punctual++
		}
		best = min(best, late)
	}
	if punctual < want {
		t.Errorf("%d of %d rings were less than %s late, the best %s; want at least %d", punctual, rings, onTime, best, want)
	}
}
