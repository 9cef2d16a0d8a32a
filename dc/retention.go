package dc

import (
	"context"
	"time"
)

// retain keeps the chains within their bounds while this node leads. What a peer has not confirmed goes too,
// when it is too much or too old: the peer will need a snapshot, and this DC's life goes on.
func (d *DC) retain(ctx context.Context) {
	tick := time.NewTicker(d.cfg.RetentionInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if _, leading := d.Leading(); !leading {
			continue
		}
		trim := d.excess()
		if len(trim) == 0 {
			continue
		}
		for origin, e := range trim {
			d.log.Warn("frames that some datacenter has not confirmed are dropped", "origin", origin, "up_to", e.Revision,
				"retention_bytes", d.cfg.RetentionBytes, "retention_age", d.cfg.RetentionAge)
		}
		if err := d.confirm(ctx, matrixEntry{}, note{Trim: trim}); err != nil && ctx.Err() == nil {
			d.log.Warn("could not trim the chains", "error", err) // the next round tries again
		}
	}
}

// excess is what the chains hold past the bounds of retention.
func (d *DC) excess() map[string]excess {
	trim := map[string]excess{}
	oldest := d.opened.now(d.cfg.Now(), time.Now()).Add(-d.cfg.RetentionAge)
	for _, origin := range d.origins {
		if upTo, incarnation, ok := d.store.Excess(origin, d.cfg.RetentionBytes, oldest); ok {
			trim[origin] = excess{Incarnation: incarnation, Revision: upTo}
		}
	}
	return trim
}

// moment is one moment on the wall clock and on the monotonic one.
type moment struct{ wall, steady time.Time }

// now is the wall clock's time, or what it should be by the monotonic clock if that is earlier. A clock that
// jumps ahead would else make all frames old at once, and every peer that is away would need a snapshot.
func (m moment) now(wall, steady time.Time) time.Time {
	if m.steady.IsZero() {
		return wall
	}
	wall = wall.Round(0) // a comparison must not use the monotonic readings, which don't jump
	if passed := m.wall.Round(0).Add(steady.Sub(m.steady)); passed.Before(wall) {
		return passed
	}
	return wall
}

// trim drops frames past retention.
func (a *applier) trim(trim map[string]excess) {
	for origin, e := range trim {
		if a.dc.state.positions[origin].Incarnation != e.Incarnation {
			continue // the chain has begun anew meanwhile
		}
		upTo := a.dc.state.untilTaken(origin, e.Revision)
		a.batch.TrimFrames(origin, upTo)
		a.dropsUnconfirmed(origin, upTo)
		a.dc.metrics.trims.WithLabelValues(origin).Inc()
	}
}
