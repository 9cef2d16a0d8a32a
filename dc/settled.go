package dc

import (
	"errors"
	"fmt"
	"slices"

	"geogate/dc/store"
	"geogate/replication/event"
)

// A snapshot leaves out what may turn out not to count: writes of the homes of single-writer keyspaces that not every
// datacenter has confirmed. They come as frames, which are retained from there on, and are judged one by one. What a
// snapshot brought could not be taken back, for its receiver has no history of it.

// settleAttempts bounds how often marks are read anew because a chain was trimmed meanwhile.
const settleAttempts = 10

// SnapshotMarks is Marks for a snapshot: how far the states go that [DC.Export] gives from now on.
func (d *DC) SnapshotMarks() (marks []event.Mark, revision int64, high event.Stamp, err error) {
	for range settleAttempts {
		p := d.published.Load()
		marks, err = d.settled(p)
		if !errors.Is(err, store.ErrTrimmed) {
			return marks, p.revision, p.high, err
		}
	}
	return nil, 0, 0, err
}

// settled lowers the marks of homes to where their frames are retained from.
func (d *DC) settled(p *published) ([]event.Mark, error) {
	marks := slices.Clone(p.marks())
	for i := range marks {
		m := &marks[i]
		if m.Past || !p.isHome(m.Origin) {
			continue
		}
		floor, ok := d.store.Retained(m.Origin)
		if !ok || floor >= m.Revision {
			continue
		}
		frames, err := d.store.Frames(m.Origin, floor, 1)
		if err != nil {
			return nil, fmt.Errorf("where the frames of %s begin: %w", m.Origin, err)
		}
		if len(frames) > 0 && frames[0].Incarnation == m.Incarnation {
			m.Revision, m.Hash = frames[0].PrevRevision, frames[0].PrevHash
		}
	}
	return marks, nil
}

func (p *published) isHome(dc string) bool {
	for i := range p.registers {
		if p.registers[i].State.Decided.Home.DC == dc {
			return true
		}
	}
	return false
}

// exportSettled is exportPart of settled states, and the marks that they are at least as new as. Nothing is left out
// that was there in an earlier snapshot: it may not have been settled then.
func (d *DC) exportSettled(after []byte, maxBytes int) (e part, held []event.Mark, err error) {
	for range settleAttempts {
		if held, _, _, err = d.SnapshotMarks(); err != nil {
			return e, nil, err
		}
		if e, err = d.exportPart(after, 0, maxBytes); err != nil {
			return e, nil, err
		}
		if err = d.settledParts(&e, held); err != nil {
			return e, nil, err
		}
		// Where a chain was trimmed meanwhile, the history that was just read may have gone.
		again, _, _, err := d.SnapshotMarks()
		if err != nil {
			return e, nil, err
		}
		if d.sameHomes(held, again) {
			return e, held, nil
		}
	}
	return e, nil, fmt.Errorf("%w: while a snapshot was read", store.ErrTrimmed)
}

// sameHomes says whether both have homes' chains retained from the same places.
func (d *DC) sameHomes(a, b []event.Mark) bool {
	p := d.published.Load()
	at := map[string]int64{}
	for _, m := range a {
		if !m.Past && p.isHome(m.Origin) {
			at[m.Origin] = m.Revision
		}
	}
	for _, m := range b {
		if _, retained := d.store.Retained(m.Origin); retained && !m.Past && p.isHome(m.Origin) && at[m.Origin] != m.Revision {
			return false
		}
	}
	return true
}

// settledParts replaces states in a part that are not settled by those before them. One that nothing is known of
// before is left out.
func (d *DC) settledParts(e *part, marks []event.Mark) error {
	bound := map[string]int64{}
	p := d.published.Load()
	for _, m := range marks {
		if !m.Past && p.isHome(m.Origin) {
			bound[m.Origin] = m.Revision
		}
	}
	kept := e.versions[:0]
	for i := range e.versions {
		v := e.versions[i]
		if r, home := bound[v.Geo.Origin]; home && v.Geo.OriginRevision > r {
			before, known, err := d.store.Before(v.Key, v.Geo.Origin, r)
			if err != nil {
				return err
			}
			if !known {
				continue
			}
			v = before
		}
		kept = append(kept, v)
	}
	e.versions = kept
	requests := e.requests[:0]
	for _, q := range e.requests {
		if r, home := bound[q.origin]; !home || q.revision <= r {
			requests = append(requests, q)
		}
	}
	e.requests = requests
	return nil
}
