package store

import (
	"maps"
	"slices"

	"geogate/replication/event"
)

// DropGraves removes graves that the vector stable covers: those whose origin revision is at or below that
// of their origin, up to max of them. Which ones go depends on nothing but the state and the arguments, so
// replicas agree: origins by name, then origin revision, then key.
func (b *Batch) DropGraves(stable event.Vector, most int) {
	s := b.s
	for _, name := range slices.Sorted(maps.Keys(stable)) {
		id, ok := s.originIDs[name]
		if !ok {
			continue
		}
		graves := s.index.graves[id]
		for graves != nil && most > 0 {
			it, ok := graves.Min()
			if !ok || it.originRevision > stable[name] {
				break
			}
			s.index.unbury(it)
			s.active.bury([]byte(it.key), &grave{none: true})
			s.index.drop(it)
			most--
		}
	}
	b.dropSystemGraves(stable, most)
}
