package store

import "fmt"

// Compact drops the history before a revision: reads and watches below it fail from now on. As in etcd the
// newest version at or below it stays, unless it is a tombstone below it. The records go from the index and
// from the disk in the background, a bounded number with each flush.
func (b *Batch) Compact(revision int64) error {
	s := b.s
	if revision <= s.compacted {
		return fmt.Errorf("compact at %d, compacted is %d: %w", revision, s.compacted, ErrCompacted)
	}
	if revision > s.revision {
		return fmt.Errorf("compact at %d, revision is %d: %w", revision, s.revision, ErrFutureRev)
	}
	s.compacted = revision
	return nil
}

// sweepLocked drops up to limit versions that are due and lists them for deletion on disk. It says whether
// there are more.
func (s *Store) sweepLocked(limit int) (more bool) {
	for range limit {
		it, ok := s.garbage.next(s.droppableLocked())
		if !ok {
			return false
		}
		r, ok := it.pop()
		if !ok {
			panic(fmt.Sprintf("store: no version of %q left to drop at compacted revision %d", it.key, s.compacted))
		}
		s.active.deletes = append(s.active.deletes, r)
		s.active.touched = true
		s.index.drop(it)
	}
	return s.garbage.due(s.droppableLocked())
}
