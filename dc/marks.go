package dc

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"geogate/replication/event"
)

// life is one incarnation of an origin.
type life struct {
	origin      string
	incarnation uint64
}

func (l life) String() string { return fmt.Sprintf("%s~%016x", l.origin, l.incarnation) }

func compareLives(a, b life) int {
	return cmp.Or(cmp.Compare(a.origin, b.origin), cmp.Compare(a.incarnation, b.incarnation))
}

// What this DC holds is said by three maps.
//
//	positions  of the present life of each origin: everything up to there
//	past       of lives that have ended, the same. No stream carries what is missing of those; whoever sees
//	           that a peer has more takes a snapshot of that peer
//	reach      of lives of which a snapshot that is being merged, or has just been, may have brought some
//	           keys from beyond the position; gone once the position is there
//
// DCs that hold the same by these have equal data.

// marks lists positions, in a fixed order, without what was never heard of.
func (s *state) marks() []event.Mark {
	return marksOf(s.positionsWith(nil), s.pastMarks())
}

// holds is the vector, with an entry "origin~incarnation" for each ended life, "origin~incarnation+" for what a
// snapshot brought beyond the position, and one for the present decision on each single-writer keyspace.
func (p *published) holds() event.Vector {
	v := p.vector().Clone()
	for _, marks := range [][]event.Mark{p.marks(), p.homeMarks} {
		for i := range marks {
			if m := &marks[i]; m.Past {
				v[life{m.Origin, m.Incarnation}.String()] = m.Revision
			}
		}
	}
	for l, r := range p.reach {
		v[l.String()+"+"] = r
	}
	return v
}

// position is where this DC stands in a life, ended or not.
func (s *state) position(l life) event.Position {
	if p := s.positions[l.origin]; p.Incarnation == l.incarnation {
		return p
	}
	return s.past[l]
}

// settle forgets the reach that the positions have caught up with.
func (a *applier) settle() {
	s := &a.dc.state
	before := len(s.reach)
	for l, r := range s.reach {
		if s.position(l).Revision >= r {
			delete(s.reach, l)
		}
	}
	if len(s.reach) != before {
		a.saveReach()
	}
}

// extend takes note of how far the sender of a chunk was.
func (a *applier) extend(reach map[life]int64) {
	s := &a.dc.state
	changed := false
	for l, r := range reach {
		if r > s.reach[l] && r > s.position(l).Revision {
			s.reach[l] = r
			changed = true
		}
	}
	if changed {
		a.saveReach()
	}
}

// remember takes note of what is held of a life that has ended.
func (a *applier) remember(p event.Position) {
	l := life{p.Origin, p.Incarnation}
	if old, known := a.dc.state.past[l]; (known && p.Revision <= old.Revision) || p.Revision == 0 {
		return
	}
	a.dc.state.past[l] = p
	a.savePast()
}

// fragment names, as a life of its own, the keys that a snapshot brought of a life beyond the position, when
// that life has ended before the rest came. Nobody else has them, perhaps: as a life they are seen to be
// missing elsewhere, and fetched, so all DCs end with the same data.
func fragment(l life, holder uint64) event.Position {
	var b []byte
	b = append(b, l.origin...)
	b = binary.BigEndian.AppendUint64(b, l.incarnation)
	b = binary.BigEndian.AppendUint64(b, holder)
	return event.Position{Origin: l.origin, Incarnation: xxhash.Sum64(b), Revision: 1}
}

// markRecord is a mark, or a reach, as JSON.
type markRecord struct {
	Origin      string `json:"origin"`
	Incarnation uint64 `json:"incarnation"`
	Revision    int64  `json:"revision"`
	Hash        []byte `json:"hash,omitempty"`
	Past        bool   `json:"past,omitempty"`
}

func recordOf(m event.Mark) markRecord {
	r := markRecord{Origin: m.Origin, Incarnation: m.Incarnation, Revision: m.Revision, Past: m.Past}
	if m.Hash != (event.Hash{}) {
		r.Hash = m.Hash[:]
	}
	return r
}

func (r *markRecord) mark() (event.Mark, error) {
	m := event.Mark{Position: event.Position{Origin: r.Origin, Incarnation: r.Incarnation, Revision: r.Revision}, Past: r.Past}
	if n := len(r.Hash); n != 0 && n != len(m.Hash) {
		return m, fmt.Errorf("hash of %d bytes", n)
	}
	copy(m.Hash[:], r.Hash)
	if m.Origin == "" || m.Incarnation == 0 || m.Revision < 0 {
		return m, fmt.Errorf("mark %s is of no life", m.Position)
	}
	return m, nil
}

func (a *applier) savePast() {
	s := &a.dc.state
	var rs []markRecord
	for _, l := range slices.SortedFunc(maps.Keys(s.past), compareLives) {
		rs = append(rs, recordOf(event.Mark{Position: s.past[l], Past: true}))
	}
	a.batch.SetMeta(metaPast, mustMarshal(rs))
}

func (a *applier) saveReach() {
	s := &a.dc.state
	var rs []markRecord
	for _, l := range slices.SortedFunc(maps.Keys(s.reach), compareLives) {
		rs = append(rs, markRecord{Origin: l.origin, Incarnation: l.incarnation, Revision: s.reach[l]})
	}
	a.batch.SetMeta(metaReach, mustMarshal(rs))
}

func mustMarshal(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("marshal %v: %v", v, err)) // strings, numbers and bytes always marshal
	}
	return raw
}

func decodeMarks(raw []byte) ([]event.Mark, error) {
	var rs []markRecord
	if raw == nil {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &rs); err != nil {
		return nil, err
	}
	out := make([]event.Mark, len(rs))
	for i := range rs {
		var err error
		if out[i], err = rs[i].mark(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func decodePast(raw []byte) (map[life]event.Position, error) {
	marks, err := decodeMarks(raw)
	if err != nil {
		return nil, fmt.Errorf("ended lives: %w: the store is damaged", err)
	}
	past := map[life]event.Position{}
	for _, m := range marks {
		past[life{m.Origin, m.Incarnation}] = m.Position
	}
	return past, nil
}

func decodeReach(raw []byte) (map[life]int64, error) {
	marks, err := decodeMarks(raw)
	if err != nil {
		return nil, fmt.Errorf("reach of snapshots: %w: the store is damaged", err)
	}
	reach := map[life]int64{}
	for _, m := range marks {
		reach[life{m.Origin, m.Incarnation}] = m.Revision
	}
	return reach, nil
}
