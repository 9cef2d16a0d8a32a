package wire

import (
	"fmt"

	"geogate/replication/event"
)

// FromPosition turns a chain position into its message.
func FromPosition(p event.Position) *Position {
	m := &Position{Incarnation: p.Incarnation, Revision: p.Revision}
	if p.Hash != (event.Hash{}) {
		m.Hash = p.Hash[:]
	}
	return m
}

// In turns the message into a position in the chain of origin.
func (x *Position) In(origin string) (event.Position, error) {
	p := event.Position{Origin: origin, Incarnation: x.GetIncarnation(), Revision: x.GetRevision()}
	if n := len(x.GetHash()); n != 0 && n != len(p.Hash) {
		return p, fmt.Errorf("%w: hash of %d bytes", ErrMessage, n)
	}
	copy(p.Hash[:], x.GetHash())
	if p.Revision < 0 {
		return p, fmt.Errorf("%w: revision %d", ErrMessage, p.Revision)
	}
	return p, nil
}

// FromMarks turns marks into their messages, with hashes or without.
func FromMarks(marks []event.Mark, hashes bool) []*Watermark {
	out := make([]*Watermark, len(marks))
	for i, m := range marks {
		out[i] = &Watermark{Origin: m.Origin, Incarnation: m.Incarnation, Revision: m.Revision, Past: m.Past}
		if hashes && m.Hash != (event.Hash{}) {
			out[i].Hash = m.Hash[:]
		}
	}
	return out
}

// Marks turns messages with hashes into marks.
func Marks(ws []*Watermark) ([]event.Mark, error) {
	out := make([]event.Mark, len(ws))
	for i, w := range ws {
		p, err := (&Position{Incarnation: w.GetIncarnation(), Revision: w.GetRevision(), Hash: w.GetHash()}).In(w.GetOrigin())
		if err != nil {
			return nil, err
		}
		if p.Origin == "" || p.Incarnation == 0 {
			return nil, fmt.Errorf("%w: mark of no life", ErrMessage)
		}
		out[i] = event.Mark{Position: p, Past: w.GetPast()}
	}
	return out, nil
}
