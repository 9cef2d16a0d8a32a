package replication

import "time"

// beat is a ticker whose ticks coincide with those of all others of the engine as far as their intervals allow: an idle
// process is woken once for all that has to be done then, and to wake it costs more than most of that.
type beat struct {
	C     <-chan time.Time
	timer *time.Timer
	since time.Time
	every time.Duration
}

func (e *Engine) beat(every time.Duration) *beat {
	t := time.NewTimer(untilBeat(time.Since(e.beats), every))
	return &beat{C: t.C, timer: t, since: e.beats, every: every}
}

// next must be called after each tick. Those that passed meanwhile are left out.
func (b *beat) next() { b.timer.Reset(untilBeat(time.Since(b.since), b.every)) }

func (b *beat) stop() { b.timer.Stop() }

// untilBeat is the time until the next multiple of an interval.
func untilBeat(passed, every time.Duration) time.Duration { return every - passed%every }
