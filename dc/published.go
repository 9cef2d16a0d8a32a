package dc

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"geogate/replication/event"
	"geogate/replication/homes"
)

// published is what readers see of the small state; it is replaced after each entry and never changed. What few
// of them ask for is made when the first one does: entries come by the thousand in a second.
type published struct {
	incarnation uint64
	positions   []event.Position // of all datacenters and of whatever else has one, by origin
	past        []event.Mark     // of lives that have ended
	digest      uint64
	revision    int64
	index       uint64 // of the log
	high        event.Stamp
	reach       map[life]int64
	kept        checkpoint // where the kept history begins
	degraded    map[string]Degradation
	alarms      alarms
	restored    *restored
	registers   []homes.Register // by keyspace
	keyspaces   []*register      // the same registers; only latest of them may be looked at
	homeMarks   []event.Mark     // of their decisions, for comparisons
	overruns    []string         // keyspaces of which something is being taken back
	multi       []string         // see multiwriter.go

	once  sync.Once
	asked struct {
		vector event.Vector
		marks  []event.Mark
	}
}

func (d *DC) publish(index uint64) {
	p := &published{
		index: index, high: d.state.high, degraded: d.state.degraded,
		incarnation: d.state.incarnation,
		positions:   d.state.positionsWith(d.origins),
		past:        d.state.pastMarks(),
		digest:      d.store.Digest(),
		revision:    d.store.Revision(),
		alarms:      d.state.alarms,
		restored:    d.state.restored,
		registers:   d.state.homes.list,
		keyspaces:   d.state.homes.order,
		homeMarks:   d.state.homes.marks,
		overruns:    d.state.homes.overruns,
		multi:       d.state.homes.multi,
	}
	if len(d.state.checkpoints) > 0 {
		p.kept = d.state.checkpoints[0]
	}
	d.publishAuth()
	d.provideSecret()
	if len(d.state.reach) > 0 {
		p.reach = maps.Clone(d.state.reach)
	}
	d.published.Store(p)
	d.signal.fire()
}

// position is where this DC stands in the present life of an origin.
func (p *published) position(origin string) event.Position {
	for i := range p.positions {
		if p.positions[i].Origin == origin {
			return p.positions[i]
		}
	}
	return event.Position{Origin: origin}
}

// applied is where this DC stands in a life, ended or not; 0 when it was never heard of.
func (p *published) applied(l homes.Life) int64 {
	if at := p.position(l.DC); at.Incarnation == l.Incarnation && at.Incarnation != 0 {
		return at.Revision
	}
	for i := range p.past {
		if m := &p.past[i]; m.Origin == l.DC && m.Incarnation == l.Incarnation {
			return m.Revision
		}
	}
	return 0
}

// vector is the watermarks of the positions. It must not be changed.
func (p *published) vector() event.Vector {
	p.once.Do(p.make)
	return p.asked.vector
}

// marks are those of the positions, then those of the past. They must not be changed.
func (p *published) marks() []event.Mark {
	p.once.Do(p.make)
	return p.asked.marks
}

func (p *published) make() {
	p.asked.vector = make(event.Vector, len(p.positions))
	for i := range p.positions {
		p.asked.vector[p.positions[i].Origin] = p.positions[i].Revision
	}
	p.asked.marks = marksOf(p.positions, p.past)
}

// marksOf lists positions, in their order, without what was never heard of, and behind them the past.
func marksOf(positions []event.Position, past []event.Mark) []event.Mark {
	out := make([]event.Mark, 0, len(positions)+len(past))
	for i := range positions {
		if positions[i].Incarnation != 0 {
			out = append(out, event.Mark{Position: positions[i]})
		}
	}
	if out = append(out, past...); len(out) == 0 {
		return nil
	}
	return out
}

// positionsWith are the positions by origin, and empty ones of those among the names that have none.
func (s *state) positionsWith(names []string) []event.Position {
	out := make([]event.Position, 0, max(len(names), len(s.positions)))
	for origin, p := range s.positions {
		p.Origin = origin
		out = append(out, p)
	}
	for _, origin := range names {
		if _, known := s.positions[origin]; !known {
			out = append(out, event.Position{Origin: origin})
		}
	}
	slices.SortFunc(out, func(a, b event.Position) int { return cmp.Compare(a.Origin, b.Origin) })
	return out
}

// pastMarks are the positions in lives that have ended, in a fixed order.
func (s *state) pastMarks() (out []event.Mark) {
	if len(s.past) == 0 {
		return nil // nearly always
	}
	for _, l := range slices.SortedFunc(maps.Keys(s.past), compareLives) {
		out = append(out, event.Mark{Position: s.past[l], Past: true})
	}
	return out
}
