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

// open is what of a home's writes may turn out not to count: those behind a revision. Another life of it has revisions
// of its own, so they are told from those of before by their stamps, too.
type open struct {
	behind int64
	from   event.Stamp
}

func (o open) holds(revision int64, stamp event.Stamp) bool {
	return revision > o.behind && stamp >= o.from
}

// SnapshotMarks is Marks for a snapshot: how far the states go that [DC.Export] gives from now on, and what a later
// snapshot for the same receiver may name as since.
func (d *DC) SnapshotMarks() (marks []event.Mark, since int64, high event.Stamp, err error) {
	for range settleAttempts {
		p := d.published.Load()
		marks, _, err = d.settled(p)
		if !errors.Is(err, store.ErrTrimmed) {
			return marks, d.since(p), p.high, err
		}
	}
	return nil, 0, 0, err
}

// since is the revision up to which a snapshot that begins now gives everything, 0 where none is known. With
// single-writer keyspaces that is the checkpoint of the kept history, and written as a negative number: what was given
// before there were any, or by a build that knew no such number, is not left out.
func (d *DC) since(p *published) int64 {
	if len(p.registers) == 0 {
		return p.revision
	}
	if !p.kept.Whole {
		return 0
	}
	for origin, r := range p.kept.Vector {
		if floor, retained := d.store.Retained(origin); retained && floor < r {
			return 0
		}
	}
	return -p.kept.Revision
}

// settled lowers the marks of homes to where their frames are retained from, and says what is open by that.
func (d *DC) settled(p *published) ([]event.Mark, map[string]open, error) {
	marks := slices.Clone(p.marks())
	opens := map[string]open{}
	for i := range marks {
		m := &marks[i]
		if m.Past || !p.isHome(m.Origin) {
			continue
		}
		floor, retained := d.store.Retained(m.Origin)
		switch {
		case retained && floor < m.Revision:
			frames, err := d.store.Frames(m.Origin, floor, 1)
			if err != nil {
				return nil, nil, fmt.Errorf("where the frames of %s begin: %w", m.Origin, err)
			}
			if len(frames) > 0 && frames[0].Incarnation == m.Incarnation {
				m.Revision, m.Hash = frames[0].PrevRevision, frames[0].PrevHash
				opens[m.Origin] = open{behind: m.Revision, from: frames[0].Stamp}
				continue
			}
		case slices.ContainsFunc(p.past, func(past event.Mark) bool { return past.Origin == m.Origin }):
			continue // nothing tells them apart, and nothing of the present life is retained
		}
		opens[m.Origin] = open{behind: m.Revision}
	}
	return marks, opens, nil
}

func (p *published) isHome(dc string) bool {
	for i := range p.registers {
		if p.registers[i].State.Decided.Home.DC == dc {
			return true
		}
	}
	return false
}

// exportSettled is exportPart of settled states, and the marks that they are at least as new as. A since that is not
// negative leaves nothing out, see [DC.since].
func (d *DC) exportSettled(after []byte, since int64, maxBytes int) (e part, held []event.Mark, err error) {
	for range settleAttempts {
		var opens, again map[string]open
		if held, opens, err = d.settled(d.published.Load()); errors.Is(err, store.ErrTrimmed) {
			continue
		} else if err != nil {
			return e, nil, err
		}
		if e, err = d.exportPart(after, max(0, -since), maxBytes); err != nil {
			return e, nil, err
		}
		if err = d.settledParts(&e, opens); err != nil {
			return e, nil, err
		}
		// Where a chain was trimmed meanwhile, the history that was just read may have gone.
		if _, again, err = d.settled(d.published.Load()); errors.Is(err, store.ErrTrimmed) {
			continue
		} else if err != nil {
			return e, nil, err
		}
		if sameRetained(opens, again) {
			return e, held, nil
		}
	}
	return e, nil, fmt.Errorf("%w: while a snapshot was read", store.ErrTrimmed)
}

// sameRetained says whether both have homes' chains retained from the same places.
func sameRetained(a, b map[string]open) bool {
	differs := func(a, b map[string]open) bool {
		for origin, o := range a {
			if o.from != 0 && b[origin] != o {
				return true
			}
		}
		return false
	}
	return !differs(a, b) && !differs(b, a)
}

// settledParts replaces states in a part that are not settled by those before them. One that nothing is known of
// before is left out.
func (d *DC) settledParts(e *part, opens map[string]open) error {
	kept := e.versions[:0]
	for i := range e.versions {
		v := e.versions[i]
		if o, home := opens[v.Geo.Origin]; home && o.holds(v.Geo.OriginRevision, v.Geo.Stamp) {
			before, known, err := d.store.Before(v.Key, v.Geo.Origin, o.behind, o.from)
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
		if o, home := opens[q.origin]; !home || !o.holds(q.revision, q.stamp) {
			requests = append(requests, q)
		}
	}
	e.requests = requests
	return nil
}
