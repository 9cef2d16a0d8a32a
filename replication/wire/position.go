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
