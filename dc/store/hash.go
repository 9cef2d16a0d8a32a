package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cespare/xxhash/v2"
	bolt "go.etcd.io/bbolt"
)

// Hash is a checksum over the history between two revisions.
type Hash struct {
	Sum       uint32
	Revision  int64 // up to which history was read
	Compacted int64 // from which on; 0 when nothing was compacted
	Current   int64 // the store's revision when the reading began
}

// Hash sums up every version from the compacted revision to the given one; 0 is the current one. Replicas that
// applied the same log and are compacted alike have equal sums, whatever compaction has deleted on disk.
// It reads in steps and holds the lock for a few thousand keys at a time, so a compaction may come between:
// then it begins anew, a few times.
func (s *Store) Hash(ctx context.Context, revision int64) (Hash, error) {
	const attempts = 5
	for n := 0; ; n++ {
		h, err := s.hashOnce(ctx, revision)
		if !errors.Is(err, errCompactedMeanwhile) || n+1 == attempts {
			return h, err
		}
	}
}

var errCompactedMeanwhile = errors.New("history was compacted while it was hashed: ask again")

func (s *Store) hashOnce(ctx context.Context, revision int64) (Hash, error) {
	var w *hashWalk
	for {
		if err := ctx.Err(); err != nil {
			return Hash{}, err
		}
		tx, err := func() (*bolt.Tx, error) {
			s.mu.RLock()
			defer s.mu.RUnlock()
			if err := s.readableLocked(); err != nil {
				return nil, err
			}
			if w == nil {
				at, err := s.rangeRevisionLocked(revision)
				if err != nil {
					return nil, err
				}
				w = &hashWalk{Hash: Hash{Revision: at, Compacted: s.compacted, Current: s.revision}}
				w.d.Reset()
			} else if w.Compacted != s.compacted {
				return nil, errCompactedMeanwhile
			}
			w.stepLocked(s, walkStep)
			if !w.disk {
				return nil, nil
			}
			return s.db.Begin(false)
		}()
		if err != nil {
			return Hash{}, err
		}
		var r *reader
		if tx != nil {
			r = newReader(tx, s.originNames())
		}
		err = s.reading(func() error { return w.sum(r) })
		if tx != nil {
			rollback(tx)
		}
		if err != nil {
			return Hash{}, err
		}
		if w.done {
			sum := w.d.Sum64()
			w.Sum = uint32(sum) ^ uint32(sum>>32)
			return w.Hash, nil
		}
	}
}

// hashWalk goes through the keys in order, and through the versions of a key in order of revision.
type hashWalk struct {
	Hash
	d    xxhash.Digest
	from string
	done bool
	todo []hashed // of the present step
	disk bool     // some of it must be read from disk
	buf  [64]byte
}

// hashed is a version to add: from memory, or else by its place on disk.
type hashed struct {
	rev     rev
	pending *record
}

func (w *hashWalk) stepLocked(s *Store, n int) {
	w.todo, w.disk, w.done = w.todo[:0], false, true
	s.index.ascend(asBytes(w.from), func(it *item) bool {
		if n <= 0 {
			w.from, w.done = it.key, false
			return false
		}
		n -= 1 + len(it.older())
		w.take(s, it)
		return true
	})
}

// take lists the versions of a key that count: those between the two revisions, and what was visible at the
// compacted one. Tombstones at the compacted revision do not, as in etcd.
func (w *hashWalk) take(s *Store, it *item) {
	first := int64(math.MaxInt64)
	if r, ok := it.visible(w.Compacted); ok {
		first = r.main
	}
	add := func(r rev) {
		if r.main > w.Revision || r.main <= w.Compacted && r.main != first {
			return
		}
		h := hashed{rev: r, pending: s.pendingLocked(r.main, r.sub)}
		w.disk = w.disk || h.pending == nil
		w.todo = append(w.todo, h)
	}
	for _, r := range it.older() {
		add(r)
	}
	if it.mod != 0 {
		add(rev{main: it.mod, sub: it.sub, tomb: !it.live})
	}
}

func (w *hashWalk) sum(r *reader) error {
	for i := range w.todo {
		t := &w.todo[i]
		if t.pending != nil {
			w.add(&t.pending.Version)
			continue
		}
		v, err := r.version(t.rev.main, t.rev.sub)
		if err != nil {
			return fmt.Errorf("hash: %w", err)
		}
		w.add(v)
	}
	clear(w.todo) // lets go of the records
	return nil
}

func (w *hashWalk) add(v *Version) {
	deleted := uint64(0)
	if v.Deleted {
		deleted = 1
	}
	b := w.buf[:0]
	for _, n := range [...]uint64{
		uint64(v.Mod), uint64(v.Sub)<<1 | deleted, uint64(v.Create), uint64(v.Version), uint64(v.Lease),
		uint64(v.Geo.Stamp), uint64(len(v.Key)), uint64(len(v.Value)),
	} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	for _, part := range [...][]byte{b, v.Key, v.Value} {
		_, _ = w.d.Write(part) // never fails
	}
}
