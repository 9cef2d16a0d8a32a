package store

import (
	"fmt"

	bolt "go.etcd.io/bbolt"

	"geogate/replication/event"
)

// Retained is the revision behind which an origin's frames are retained; false when none are.
func (s *Store) Retained(origin string) (floor int64, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if c := s.chains[origin]; c != nil && len(c.frames) > 0 {
		return c.frames[0].prev, true
	}
	return 0, false
}

// Before is the state of a key before the writes of an origin behind a revision and from a stamp on: a version, or a
// deleted one with the grave that there was. It is false when neither is known. The history must be kept, see
// [Batch.KeepHistory].
func (s *Store) Before(key []byte, origin string, behind int64, from event.Stamp) (Version, bool, error) {
	newer := func(g *Geo) bool { return g.Origin == origin && g.OriginRevision > behind && g.Stamp >= from }
	v, notes, err := s.lookBefore(key, origin, behind, newer)
	if err != nil {
		return Version{}, false, err
	}
	if v != nil && !v.Deleted {
		return *v, true, nil
	}
	g, known := notes[string(key)]
	if known && !newer(&g) {
		return Version{Key: key, Deleted: true, Geo: g}, true, nil
	}
	if v != nil {
		return *v, true, nil
	}
	return Version{}, false, nil
}

func (s *Store) lookBefore(key []byte, origin string, behind int64, newer func(*Geo) bool) (*Version, map[string]Geo, error) {
	s.mu.RLock()
	if err := s.readableLocked(); err != nil {
		s.mu.RUnlock()
		return nil, nil, err
	}
	it := s.index.get(key)
	if it == nil {
		s.mu.RUnlock()
		return nil, nil, nil
	}
	notes, err := s.keptGravesLocked(origin, behind)
	older := it.older()
	places := make([]rev, 0, len(older)+1)
	if it.mod != 0 {
		places = append(places, rev{main: it.mod, sub: it.sub})
	}
	for i := len(older) - 1; i >= 0; i-- {
		places = append(places, older[i])
	}
	pending := make([]*Version, len(places))
	for i, p := range places {
		if r := s.pendingLocked(p.main, p.sub); r != nil {
			pending[i] = &r.Version
		}
	}
	var tx *bolt.Tx
	if err == nil {
		tx, err = s.db.Begin(false)
	}
	names := s.originNames()
	s.mu.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("history of %q: %w", key, err)
	}
	defer rollback(tx)
	r := newReader(tx, names)
	var first *Geo // of those to be passed over; what is later than it, and was replaced by one of them, had been taken back
	for i, p := range places {
		v := pending[i]
		if v == nil {
			err := s.reading(func() (err error) {
				v, err = r.version(p.main, p.sub)
				return err
			})
			if err != nil {
				return nil, nil, err
			}
		}
		switch g := &v.Geo; {
		case newer(g):
			if first == nil || event.Later(first.Stamp, first.Origin, g.Stamp, g.Origin) {
				first = g
			}
		case first == nil || event.Later(first.Stamp, first.Origin, g.Stamp, g.Origin):
			return v, notes, nil
		}
	}
	return nil, notes, nil
}
