package store

import bolt "go.etcd.io/bbolt"

// conflict is an entry of the conflict log that is not on disk yet.
type conflict struct {
	seq   uint64
	bytes []byte
}

// conflictLog is a ring on disk, bounded by number and bytes. Entries are numbered from 1 on.
type conflictLog struct {
	total uint64 // ever added: the number of the newest
	sizes []int  // of the entries kept, oldest first
	bytes int64
}

// first is the number of the oldest entry kept.
func (l *conflictLog) first() uint64 { return l.total - uint64(len(l.sizes)) + 1 }

func (l *conflictLog) add(size int) {
	l.total++
	l.sizes = append(l.sizes, size)
	l.bytes += int64(size)
}

// shrink drops the oldest entries until the log is within its bounds.
func (l *conflictLog) shrink(count int, bytes int64) {
	for len(l.sizes) > 1 && (len(l.sizes) > count || l.bytes > bytes) {
		l.bytes -= int64(l.sizes[0])
		l.sizes = l.sizes[1:]
	}
}

// Conflict adds an entry to the conflict log and drops the oldest ones when it is full. The bytes are kept,
// not copied.
func (b *Batch) Conflict(c []byte) {
	s := b.s
	s.conflicts.add(len(c))
	s.conflicts.shrink(s.cfg.ConflictLogSize, s.cfg.ConflictLogBytes)
	s.active.conflicts = append(s.active.conflicts, conflict{seq: s.conflicts.total, bytes: c})
	s.active.bytes += int64(len(c)) + overhead
}

// Conflicts returns the newest entries of the conflict log, newest first, and how many were ever added. An
// entry that can't be read is logged and left out.
func (s *Store) Conflicts(limit int) ([][]byte, uint64) {
	s.mu.RLock()
	total := s.conflicts.total
	n := min(max(limit, 0), len(s.conflicts.sizes))
	if n == 0 || s.readableLocked() != nil {
		s.mu.RUnlock()
		return nil, total
	}
	pending := map[uint64][]byte{}
	for _, buf := range []*buffer{s.flushing, s.active} {
		if buf == nil {
			continue
		}
		for _, c := range buf.conflicts {
			pending[c.seq] = c.bytes
		}
	}
	tx, err := s.db.Begin(false)
	s.mu.RUnlock()
	if err != nil {
		s.log.Error("could not read the conflict log", "error", err)
		return nil, total
	}
	defer rollback(tx)
	out := make([][]byte, 0, n)
	for seq := total; seq > total-uint64(n); seq-- {
		c, ok := pending[seq]
		if !ok {
			c = readConflict(tx, seq)
		}
		if c == nil {
			s.log.Error("conflict is missing in the log", "number", seq)
			continue
		}
		out = append(out, c)
	}
	return out, total
}

func readConflict(tx *bolt.Tx, seq uint64) []byte {
	v := tx.Bucket(bucketConflicts).Get(encodeSeq(seq))
	if v == nil {
		return nil
	}
	return append([]byte{}, v...)
}
