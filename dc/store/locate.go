package store

import (
	bolt "go.etcd.io/bbolt"
)

// maxLocate bounds the records that one Locate looks at.
const maxLocate = 1 << 16

// Locate finds a transaction of an origin in the revisions of this store: at is the revision at which it was
// applied, 0 when it is not found. It changed nothing here then, or is at or before the revision since, where the
// search ends. Up to last nothing of the origin is newer than the transaction. The search begins at the newest
// revision, so it is short for what was applied a moment ago.
func (s *Store) Locate(origin string, revision, since int64) (at, last int64, err error) {
	s.mu.RLock()
	if err := s.readableLocked(); err != nil {
		s.mu.RUnlock()
		return 0, 0, err
	}
	l := locator{origin: origin, revision: revision, since: max(since, s.compacted), last: s.revision}
	onDisk := s.revision
	var pending [][]*record
	for _, b := range []*buffer{s.active, s.flushing} {
		if first, ok := b.first(); ok {
			onDisk = min(onDisk, first-1)
			pending = append(pending, b.records[b.search(0, 0):])
		}
	}
	for _, records := range pending {
		for i := len(records) - 1; i >= 0 && !l.done; i-- {
			l.look(records[i].Mod, &records[i].Geo)
		}
	}
	var tx *bolt.Tx
	origins := s.originNames()
	if !l.done && onDisk > l.since {
		if tx, err = s.db.Begin(false); err != nil {
			s.mu.RUnlock()
			return 0, 0, err
		}
	}
	s.mu.RUnlock()
	if tx == nil {
		return l.at, l.last, nil
	}
	defer rollback(tx)
	err = s.reading(func() error { return l.onDisk(newReader(tx, origins), onDisk) })
	return l.at, l.last, err
}

// locator looks at records from the newest to the oldest.
type locator struct {
	origin          string
	revision, since int64
	looked          int

	at, last int64
	done     bool
}

func (l *locator) look(mod int64, g *Geo) {
	l.looked++
	switch {
	case mod <= l.since || l.looked > maxLocate:
		l.done = true
	case g.Origin != l.origin:
	case g.OriginRevision > l.revision:
		l.last = mod - 1
	default:
		l.done = true
		if g.OriginRevision == l.revision {
			l.at = mod
		}
	}
}

func (l *locator) onDisk(r *reader, last int64) error {
	back := r.cursor.Prev
	if k, _ := r.cursor.Seek(appendRevKey(nil, last+1, 0)); k == nil {
		back = r.cursor.Last
	}
	for k, body := back(); k != nil && !l.done; k, body = r.cursor.Prev() {
		main, sub, err := decodeRevKey(k)
		if err != nil {
			return err
		}
		v, err := r.decode(main, sub, body)
		if err != nil {
			return err
		}
		l.look(main, &v.Geo)
	}
	return nil
}
