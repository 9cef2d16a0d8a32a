package store

import (
	"context"

	bolt "go.etcd.io/bbolt"
)

// Bounds of one step of reading history. A step always ends behind a whole revision.
const (
	historyRecords = 4096
	historyBytes   = 1 << 20 // of keys and values that match
)

// step reads the history of a watcher from one revision on: first what is on disk, then what is pending.
type step struct {
	w       *Watcher
	out     WatchEvents
	next    int64 // first revision not read
	records int
	bytes   int64
}

// readHistory takes one step, or joins the synced watchers when there is no history left.
func (w *Watcher) readHistory(ctx context.Context) (WatchEvents, error) {
	if err := ctx.Err(); err != nil {
		return WatchEvents{}, err
	}
	w.mu.Lock()
	w.taken = true
	st := step{w: w, next: w.from}
	w.mu.Unlock()
	joined, err := w.s.history(&st)
	if err != nil {
		return WatchEvents{}, err
	}
	w.mu.Lock()
	w.taken = len(st.out.Events) > 0
	if !joined { // else from belongs to the hub now
		w.from = st.next
		if !w.taken {
			w.delivered = max(w.delivered, st.next-1)
		}
	}
	w.mu.Unlock()
	if !joined {
		// At the end of the history it joins at once, not when Next is called again: a compaction in between
		// would find it behind.
		w.s.mu.RLock()
		w.joinLocked()
		w.s.mu.RUnlock()
	}
	return st.out, nil
}

func (s *Store) history(st *step) (joined bool, err error) {
	s.mu.RLock()
	if err := s.readableLocked(); err != nil {
		s.mu.RUnlock()
		return false, err
	}
	if st.next < s.compacted {
		at := s.compacted
		s.mu.RUnlock()
		return false, ErrCompactedAt{Revision: at}
	}
	if st.w.joinLocked() {
		s.mu.RUnlock()
		return true, nil
	}
	current, onDisk := s.revision, s.revision
	var pending [][]*record
	for _, b := range []*buffer{s.flushing, s.active} {
		if first, ok := b.first(); ok {
			onDisk = min(onDisk, first-1)
			pending = append(pending, b.records[b.search(st.next, 0):])
		}
	}
	var tx *bolt.Tx
	origins := s.originNames()
	if st.next <= onDisk {
		if tx, err = s.db.Begin(false); err != nil {
			s.mu.RUnlock()
			return false, err
		}
	}
	s.mu.RUnlock()

	full := false
	if tx != nil {
		err = s.reading(func() (err error) {
			full, err = st.readDisk(newReader(tx, origins), onDisk)
			return err
		})
		rollback(tx)
		if err != nil {
			return false, err
		}
	}
	for _, records := range pending {
		for _, r := range records {
			if full = full || !st.add(&r.Version); full {
				break
			}
		}
	}
	if !full {
		st.next = current + 1
	}
	st.out.Revision = st.next - 1
	return false, nil
}

// readDisk reads up to a revision and says whether the step is full before that.
func (st *step) readDisk(r *reader, last int64) (full bool, err error) {
	for k, body := r.cursor.Seek(appendRevKey(nil, st.next, 0)); k != nil; k, body = r.cursor.Next() {
		main, sub, err := decodeRevKey(k)
		if err != nil {
			return false, err
		}
		if main > last {
			break
		}
		// Only what the watcher wants is copied.
		var v Version
		if _, err := decodeRecord(main, sub, body, &v); err != nil {
			return false, err
		}
		if st.w.span.contains(asString(v.Key)) {
			c, err := r.decode(main, sub, body)
			if err != nil {
				return false, err
			}
			v = *c
		}
		if !st.add(&v) {
			return true, nil
		}
	}
	st.next = last + 1
	return false, nil
}

// add takes the next record in order. It returns false, and takes nothing, when the record begins another
// revision and the step is full.
func (st *step) add(v *Version) bool {
	if v.Mod >= st.next {
		if st.records >= historyRecords || st.bytes >= historyBytes {
			st.next = v.Mod
			return false
		}
		st.next = v.Mod + 1
	}
	st.records++
	w := st.w
	if !w.span.contains(asString(v.Key)) || !w.wants(v.Mod, v.Deleted) {
		return true
	}
	st.out.Events = append(st.out.Events, v.event())
	st.bytes += int64(len(v.Key) + len(v.Value))
	return true
}
