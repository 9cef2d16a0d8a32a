package dc

import (
	"context"
	"math"
	"slices"
	"time"

	"geogate/replication/event"
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
		floor, _ := d.store.Retained(origin)
		aged, incarnation, _ := d.store.Excess(origin, math.MaxInt64, oldest)
		if aged = min(aged, d.agedAtMost(origin)); aged > floor {
			trim[origin] = excess{Incarnation: incarnation, Revision: aged}
		}
		much, incarnation, _ := d.store.Excess(origin, d.cfg.RetentionBytes, time.Time{})
		if much > max(aged, floor) {
			trim[origin] = excess{Incarnation: incarnation, Revision: much}
		}
	}
	return trim
}

// heard is what the other datacenters were known to have applied, by lives; rows may be missing.
type heard struct {
	matrix map[string]event.Vector
	lives  map[string]uint64
}

// Heard takes note of what the datacenters that are known have applied: rows are datacenters, this one included, and lives,
// by origin, what the revisions are of. Neither map is changed by either side from then on.
func (d *DC) Heard(matrix map[string]event.Vector, lives map[string]uint64) {
	d.heard.Store(&heard{matrix: matrix, lives: lives})
}

// agedAtMost is the revision up to which an origin's frames may go for their age. Where keyspaces have homes, what is not on
// a majority may turn out not to count, and is taken back by its frames: a home that comes back after long finds them old
// before it has heard who is home now. How much it may be is bounded all the same.
func (d *DC) agedAtMost(origin string) int64 {
	p := d.published.Load()
	if len(p.registers) == 0 {
		return math.MaxInt64
	}
	h := d.heard.Load()
	if h == nil || h.lives[origin] != p.position(origin).Incarnation {
		return 0
	}
	have := make([]int64, 0, len(d.origins))
	for _, name := range d.origins {
		have = append(have, h.matrix[name][origin])
	}
	slices.Sort(have)
	return have[(len(have)-1)/2] // of 2 the lower, of 3 the middle one
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
