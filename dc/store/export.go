package store

import (
	"math"

	bolt "go.etcd.io/bbolt"
)

// exportStep bounds the keys that one Export looks at under the lock.
const exportStep = 4096

// Exported is a run of keys in order, each with its newest state.
type Exported struct {
	Versions []Version // live versions, and graves as Deleted ones; they share memory with the store
	Last     []byte    // key up to which all is in Versions, or was left out on purpose
	Done     bool      // there are no keys behind Last
	Index    uint64    // of the log: the state includes nothing behind it
}

// Export reads the newest state of the keys behind one, about maxBytes of them, at least one if there is
// any. Live keys whose newest version came at or before the revision since are left out; graves never are,
// because not every grave takes a revision. Keys are looked at as they are at the moment of the call.
func (s *Store) Export(after []byte, since int64, maxBytes int) (Exported, error) {
	e := exporter{since: since, Exported: Exported{Last: after, Done: true}}
	tx, err := e.look(s, after)
	if err != nil {
		return Exported{}, err
	}
	if tx != nil {
		defer rollback(tx)
		e.reader = newReader(tx, e.origins)
	}
	size := 0
	for i := range e.found {
		f := &e.found[i]
		if size >= maxBytes && len(e.Versions) > 0 {
			e.Done = false
			return e.Exported, nil
		}
		if err := s.reading(func() error { return e.read(f) }); err != nil {
			return Exported{}, err
		}
		v := &f.Version
		size += len(v.Key) + len(v.Value) + len(v.Geo.Seen) + overhead/4
		e.Versions = append(e.Versions, *v)
		e.Last = v.Key
	}
	e.Last, e.Done = e.seen, e.end
	return e.Exported, nil
}

// exporter collects places under the lock, and reads what is not in memory afterwards.
type exporter struct {
	Exported
	since   int64
	found   []found
	origins []string
	seen    []byte // the last key looked at
	end     bool   // there is none behind it
	reader  *reader
}

// found is a key to export; its version is complete unless it is on disk.
type found struct {
	Version
	onDisk bool
}

// look collects up to exportStep keys. The transaction is not nil when some must be read from disk; it
// begins under the lock, so it holds all that the index knows and that is not pending.
func (e *exporter) look(s *Store, after []byte) (tx *bolt.Tx, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.readableLocked(); err != nil {
		return nil, err
	}
	e.Index, e.origins = s.applied.Index, s.originNames()
	e.seen, e.end = after, true
	disk, looked := false, 0
	s.index.ascend(after, func(it *item) bool {
		if len(after) > 0 && it.key == asString(after) {
			return true
		}
		if looked == exportStep {
			e.end = false
			return false
		}
		looked++
		e.seen = []byte(it.key)
		if (it.live && it.mod > e.since) || it.grave {
			f := s.findLocked(it)
			disk = disk || f.onDisk
			e.found = append(e.found, f)
		}
		return true
	})
	if disk {
		return s.db.Begin(false)
	}
	return nil, nil
}

// findLocked describes the newest state of a key that is live or buried.
func (s *Store) findLocked(it *item) found {
	if it.live {
		if r := s.pendingLocked(it.mod, it.sub); r != nil {
			return found{Version: r.Version}
		}
		return found{Version: Version{Key: []byte(it.key), Mod: it.mod, Sub: int64(it.sub)}, onDisk: true}
	}
	f := found{Version: Version{Key: []byte(it.key), Deleted: true}, onDisk: true}
	for _, buf := range []*buffer{s.active, s.flushing} {
		if buf == nil {
			continue
		}
		if g := buf.graves[it.key]; g != nil {
			f.Geo, f.onDisk = g.geo, false
			break
		}
	}
	return f
}

func (e *exporter) read(f *found) error {
	switch {
	case !f.onDisk:
		return nil
	case f.Deleted:
		g, err := e.reader.grave(f.Key)
		f.Geo = g
		return err
	}
	v, err := e.reader.version(f.Mod, uint32(min(f.Sub, math.MaxUint32)))
	if err != nil {
		return err
	}
	f.Version = *v
	return nil
}

// EachHead calls fn for the keys behind one, in order, until it returns false. fn must change nothing; key and
// head are its own only during the call.
func (b *Batch) EachHead(after []byte, fn func(key []byte, h *Head) bool) {
	names := b.s.originNames()
	b.s.index.ascend(after, func(it *item) bool {
		if len(after) > 0 && it.key == asString(after) {
			return true
		}
		h, known := it.head(names)
		return !known || fn(asBytes(it.key), &h)
	})
}
