package store

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// conflict is an entry of the conflict log that is not on disk yet.
type conflict struct {
	seq   uint64
	bytes []byte
}

// conflictLog is a ring on disk, bounded by number and bytes. Entries are numbered from 1 on.
type conflictLog struct {
	total uint64 // ever added: the number of the newest
	plain uint64 // those up to here were written by format 1, without a checksum
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

// Conflicts returns the newest entries of the conflict log, newest first, and how many were ever added. It
// ends before an entry that can't be read, which is logged and breaks the store.
func (s *Store) Conflicts(limit int) ([][]byte, uint64) {
	s.mu.RLock()
	total, plain := s.conflicts.total, s.conflicts.plain
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
	err = s.reading(func() error {
		for seq := total; seq > total-uint64(n); seq-- {
			c, ok := pending[seq]
			if !ok {
				if c, err = readConflict(tx, seq, seq <= plain); err != nil {
					return err
				}
			}
			out = append(out, c)
		}
		return nil
	})
	if err != nil {
		s.log.Error("could not read the conflict log", "error", err)
	}
	return out, total
}

// plainConflicts is the number up to which conflicts have no checksum: all of a file of format 1.
func plainConflicts(m *bolt.Bucket) (uint64, error) {
	if m.Get(metaPlain) == nil {
		return number(m, metaConflicts)
	}
	return number(m, metaPlain)
}

func readConflict(tx *bolt.Tx, seq uint64, plain bool) ([]byte, error) {
	v := tx.Bucket(bucketConflicts).Get(encodeSeq(seq))
	if v == nil {
		return nil, fmt.Errorf("conflict %d is missing", seq)
	}
	c, err := decodeConflict(seq, v, plain)
	return append([]byte{}, c...), err
}

func appendConflict(b []byte, c *conflict) []byte {
	b = binary.LittleEndian.AppendUint32(b, numberedSum(c.seq, c.bytes))
	return append(b, c.bytes...)
}

// decodeConflict returns a slice of v.
func decodeConflict(seq uint64, v []byte, plain bool) ([]byte, error) {
	if plain {
		return v, nil
	}
	if len(v) < sumBytes {
		return nil, fmt.Errorf("conflict %d: %w", seq, errShort)
	}
	if got, want := numberedSum(seq, v[sumBytes:]), binary.LittleEndian.Uint32(v); got != want {
		return nil, fmt.Errorf("conflict %d has checksum %08x, want %08x", seq, got, want)
	}
	return v[sumBytes:], nil
}
