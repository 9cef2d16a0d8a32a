package drill

import "time"

// gauge measures one endpoint: how long its clients got no write acknowledged, and how long their writes failed. While
// the drill itself has the datacenter down, nothing counts. It takes times and has no clock; the caller locks.
type gauge struct {
	lastAck time.Time // or the beginning, or the end of an excuse
	failing time.Time // of the first failure since the last acknowledged write; zero is none

	pause, window     time.Duration // the longest so far
	pauseAt, windowAt time.Time     // when they began

	excused  bool // the drill has taken the datacenter down
	resuming bool // and started it again: the next acknowledged write ends the excuse

	acknowledged, failed int
}

func newGauge(now time.Time) *gauge { return &gauge{lastAck: now} }

// acked tells of an acknowledged write.
func (g *gauge) acked(now time.Time) {
	g.acknowledged++
	if g.excused && !g.resuming {
		return // an answer that was on its way
	}
	if g.excused {
		g.excused, g.resuming = false, false
		g.lastAck, g.failing = now, time.Time{}
		return
	}
	g.look(now)
	g.lastAck, g.failing = now, time.Time{}
}

// fail tells of a write that began at began and failed. Where others were acknowledged since it began, the time from
// then on counts.
func (g *gauge) fail(began time.Time) {
	g.failed++
	if g.excused || !g.failing.IsZero() {
		return
	}
	g.failing = began
	if g.lastAck.After(began) {
		g.failing = g.lastAck
	}
}

// look counts what is still going on.
func (g *gauge) look(now time.Time) {
	if g.excused {
		return
	}
	if p := now.Sub(g.lastAck); p > g.pause {
		g.pause, g.pauseAt = p, g.lastAck
	}
	if !g.failing.IsZero() {
		if w := now.Sub(g.failing); w > g.window {
			g.window, g.windowAt = w, g.failing
		}
	}
}

// excuse is called before the drill takes the datacenter down, resume once it has been started.
func (g *gauge) excuse(now time.Time) {
	g.look(now)
	g.excused, g.resuming, g.failing = true, false, time.Time{}
}

func (g *gauge) resume() { g.resuming = g.excused }
