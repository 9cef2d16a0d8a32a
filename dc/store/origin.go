package store

import (
	"fmt"
	"math"
	"slices"
)

// origin is an entry of the table of origins: records name a DC by its number there. Numbers are given in
// the order of first use and never change.
type origin struct {
	id   uint16
	name string
}

// originNames is the table as readers see it; it is replaced when it grows.
func (s *Store) originNames() []string { return *s.origins.Load() }

// internLocked returns the number of an origin, a new one on first use.
func (s *Store) internLocked(name string) uint16 {
	if id, ok := s.originIDs[name]; ok {
		return id
	}
	names := s.originNames()
	if len(names) > math.MaxUint16 {
		panic(fmt.Sprintf("store: %d origins, %q does not fit", len(names), name))
	}
	id := uint16(len(names))
	names = append(slices.Clone(names), name)
	s.origins.Store(&names)
	s.originIDs[name] = id
	s.active.origins = append(s.active.origins, origin{id: id, name: name})
	return id
}
