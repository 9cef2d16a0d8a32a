package store

import "fmt"

// garbage lists the versions that compaction will drop, in the order in which they can be dropped. Each
// entry stands for the oldest version of its item by the time that the entry is due.
type garbage struct {
	queue []doomed // ascending by revision
	held  []doomed // tombstones at the compacted revision itself: a watch may still start there
}

// doomed is due when the compacted revision reaches its own: at the revision that replaced the version. A
// tombstone is due one revision after it was written, since the one at the compacted revision stays.
type doomed struct {
	revision  int64
	item      *item
	tombstone bool
}

func (g *garbage) add(replacedAt int64, it *item) {
	g.queue = append(g.queue, doomed{revision: replacedAt, item: it})
}

func (g *garbage) addTombstone(at int64, it *item) {
	g.queue = append(g.queue, doomed{revision: at, item: it, tombstone: true})
}

func (g *garbage) len() int { return len(g.queue) + len(g.held) }

// next takes an entry that is due at a compacted revision.
func (g *garbage) next(compacted int64) (*item, bool) {
	if len(g.held) > 0 && g.held[0].revision < compacted {
		it := g.held[0].item
		if g.held = g.held[1:]; len(g.held) == 0 {
			g.held = nil
		}
		return it, true
	}
	for len(g.queue) > 0 && g.queue[0].revision <= compacted {
		d := g.queue[0]
		g.queue[0].item = nil
		if g.queue = g.queue[1:]; len(g.queue) == 0 {
			g.queue = nil
		}
		if d.tombstone && d.revision == compacted {
			g.held = append(g.held, d)
			continue
		}
		return d.item, true
	}
	return nil, false
}

// due says whether next would find something.
func (g *garbage) due(compacted int64) bool {
	if len(g.held) > 0 && g.held[0].revision < compacted {
		return true
	}
	return len(g.queue) > 0 && g.queue[0].revision <= compacted
}

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
