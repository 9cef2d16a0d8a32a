package dc

import (
	"encoding/json"
	"fmt"

	"geogate/dc/store"
	"geogate/replication/event"
)

// adoption ends the merge of a snapshot: all that its sender held when the snapshot was begun is here now.
type adoption struct {
	From  string       `json:"from"`
	High  uint64       `json:"high"`  // the highest stamp that the sender had applied
	Marks []markRecord `json:"marks"` // where it stood
	Peers []string     `json:"peers"` // the other datacenters as the proposer knows them
}

// merge applies a chunk of another DC's state. The later stamp of a key wins, as for frames; what loses is
// no conflict, because both sides' writers were heard of when their frames came. All changes of a chunk
// share a revision. A chunk may be applied any number of times, and without those before or behind it.
func (a *applier) merge(payload []byte) error {
	c, err := decodeChunk(payload)
	if err != nil {
		return err
	}
	a.batch.NextTxn()
	changed := 0
	for i := range c.versions {
		v := &c.versions[i]
		a.dc.state.high = max(a.dc.state.high, v.Geo.Stamp)
		if !a.outlived(v, c.reach) && mergeState(a.batch, v) {
			changed++
		}
	}
	var touched []string
	for i := range c.system {
		e := &c.system[i]
		a.dc.state.high = max(a.dc.state.high, e.Geo.Stamp)
		if mergeSystemState(a.batch, e) {
			touched = append(touched, e.Name)
		}
	}
	a.touched("snapshot", append(touched, a.sweep(c)...))
	for i := range c.requests {
		a.dc.state.high = max(a.dc.state.high, c.requests[i].stamp)
		if _, err := mergeRequest(a.batch, &c.requests[i], a.dc.cfg.maxRequests()); err != nil {
			return err
		}
	}
	a.extend(c.reach)
	a.dc.metrics.merged.Add(float64(changed))
	return nil
}

// outlived says whether a state of a snapshot is of a write that was applied here, and has been deleted since, everywhere:
// its tombstone is gone, so nothing else would keep it from coming back. The sender may have had the chunk under way for
// long, or have given what was before a write that may turn out not to count. Which life of the origin the write is of is
// not known, so all that the sender had of any must have been applied here. A sender of a life that is new here, or that
// knows one, may have been restored to bring back what was deleted.
func (a *applier) outlived(v *store.Version, senders map[life]int64) bool {
	if _, known := a.batch.Head(v.Key); known {
		return false
	}
	s := &a.dc.state
	had := false
	for l, r := range senders {
		if _, past := s.past[l]; !past && s.positions[l.origin].Incarnation != l.incarnation {
			return false
		}
		if l.origin == v.Geo.Origin {
			if s.position(l).Revision < min(r, v.Geo.OriginRevision) {
				return false
			}
			had = true
		}
	}
	return had
}

// mergeState says whether it changed anything.
func mergeState(b *store.Batch, v *store.Version) bool {
	head, known := b.Head(v.Key)
	if known && !event.Later(v.Geo.Stamp, v.Geo.Origin, head.Geo.Stamp, head.Geo.Origin) {
		return false
	}
	switch {
	case !v.Deleted:
		b.Put(v.Key, v.Value, v.Lease, v.Geo)
	case known && head.Live:
		b.Delete(v.Key, v.Geo)
	default:
		b.Bury(v.Key, v.Geo)
	}
	return true
}

// adopt moves the marks of this DC to what it holds after the merge: for each life, the further of its own
// and the sender's. An origin's present life gives way to another one when the sender is that origin, or
// has seen this one end.
func (a *applier) adopt(payload []byte) error {
	var p adoption
	if err := json.Unmarshal(payload, &p); err != nil {
		return fmt.Errorf("%w: adoption: %w", ErrMalformed, err)
	}
	marks := make([]event.Mark, len(p.Marks))
	ended := map[life]bool{}
	for i := range p.Marks {
		var err error
		if marks[i], err = p.Marks[i].mark(); err != nil {
			return fmt.Errorf("%w: adoption: %w", ErrMalformed, err)
		}
		if marks[i].Past {
			ended[life{marks[i].Origin, marks[i].Incarnation}] = true
		}
	}
	s := &a.dc.state
	for _, m := range marks {
		if err := a.place(m, p.From, ended); err != nil {
			return err
		}
	}
	a.grantOrphans()
	s.high = max(s.high, event.Stamp(p.High))
	a.heard(p.From, lifeOf(marks, p.From), p.Peers)
	a.dc.metrics.adopted.WithLabelValues(p.From).Inc()
	return nil
}

func (a *applier) place(m event.Mark, from string, ended map[life]bool) error {
	s := &a.dc.state
	own := s.positions[m.Origin]
	switch {
	case m.Incarnation == own.Incarnation:
		if m.Revision > own.Revision && m.Origin != a.dc.cfg.Name {
			a.jump(m.Position)
		}
	case m.Origin == a.dc.cfg.Name:
		a.remember(m.Position)
		a.outgrow(m.Revision)
	case m.Past:
		a.remember(m.Position)
	case own.Incarnation == 0:
		return a.succeed(m.Position)
	case m.Origin == from || ended[life{m.Origin, own.Incarnation}]:
		a.remember(event.Position{Origin: m.Origin, Incarnation: own.Incarnation, Revision: own.Revision, Hash: own.Hash})
		if l := (life{m.Origin, own.Incarnation}); s.reach[l] > own.Revision {
			a.remember(fragment(l, s.incarnation))
			delete(s.reach, l)
			a.saveReach()
		}
		return a.succeed(m.Position)
	default:
		a.remember(m.Position) // which of the two is the later one, only the origin can say
	}
	return nil
}

// lifeLeap is how far the revisions of a life are beyond those that the ones before it are known to have had. They had more,
// perhaps, which only a datacenter knows that could not be reached. A constant, since replicas must agree.
const lifeLeap = 1_000_000_000

// outgrow leaps beyond the revisions of an earlier life of this datacenter. A write is told by its origin and revision when
// a tail is taken back and when tombstones are collected, so another life must not use them again; and a client that knows
// one of them finds it compacted, in place of other data.
func (a *applier) outgrow(earlier int64) {
	if r := a.batch.Revision(); earlier > 0 && r < earlier+lifeLeap/2 {
		a.batch.Leap(earlier + lifeLeap - r)
		a.dc.log.Warn("this datacenter has had an earlier life: its revision leaps beyond that, and history before is compacted",
			"earlier", earlier, "from", r, "to", a.batch.Revision())
	}
}

// jump moves a position without the frames that lead there.
func (a *applier) jump(p event.Position) {
	a.setPosition(p)
	a.batch.ResetChain(p.Origin, p.Incarnation, p.Revision)
	a.dropsUnconfirmed(p.Origin, p.Revision)
}

// succeed makes a life the present one of its origin. What DCs were known to have of the one before says
// nothing about this one, so the collection of tombstones starts over.
func (a *applier) succeed(p event.Position) error {
	s := &a.dc.state
	l := life{p.Origin, p.Incarnation}
	if held, ok := s.past[l]; ok {
		if held.Revision > p.Revision {
			p = held
		}
		delete(s.past, l)
		a.savePast()
	}
	a.jump(p)
	s.barrier = barrier{}
	return a.saveBarrier()
}
