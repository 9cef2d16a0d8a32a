package store

import (
	"errors"
	"fmt"
	"math"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// RangeOptions say what to read.
type RangeOptions struct {
	Key, End  []byte // as etcd: no End for one key, "\0" for all keys from Key on, else up to End without it
	Revision  int64  // 0 or less: the current one
	Limit     int64  // most keys returned; 0: all
	KeysOnly  bool   // no values
	CountOnly bool

	// Page stops behind the limit, and once about MaxBytes of keys and values are collected (0: no bound), at
	// least one key if there is any. Count then is not of the whole range, but greater than the number of KVs
	// when there are more.
	Page     bool
	MaxBytes int
}

// RangeResult is an answer to [RangeOptions].
type RangeResult struct {
	KVs      []*mvccpb.KeyValue // ascending by key; may share memory with the store and must not be changed
	Count    int64              // of keys in the range, whatever the limit was
	More     bool               // the limit cut some off
	Revision int64              // the store's when it was read
}

// Keys looked at before a long read lets a batch in between. It goes on at the same revision.
const walkStep = 4096

// Range reads the keys of a range at one revision.
func (s *Store) Range(o RangeOptions) (RangeResult, error) {
	// A current read over many keys lets batches in, and one of them may compact its revision away. It
	// starts again then, and the last time it lets none in.
	for attempt := 0; ; attempt++ {
		step := walkStep
		if attempt == 2 {
			step = math.MaxInt
		}
		res, err := s.rangeOnce(&o, step)
		if o.Revision > 0 || !errors.Is(err, ErrCompacted) {
			return res, err
		}
	}
}

func (s *Store) rangeOnce(o *RangeOptions, step int) (RangeResult, error) {
	var w *walk
	var current int64
	var origins []string
	for {
		tx, err := func() (*bolt.Tx, error) {
			s.mu.RLock()
			defer s.mu.RUnlock()
			if err := s.readableLocked(); err != nil {
				return nil, err
			}
			if w == nil {
				at, err := s.rangeRevisionLocked(o.Revision)
				if err != nil {
					return nil, err
				}
				w, current = newWalk(o, at), s.revision
			} else if w.at < s.compacted {
				return nil, fmt.Errorf("range at %d, compacted meanwhile at %d: %w", w.at, s.compacted, ErrCompacted)
			}
			w.stepLocked(s, step)
			if !w.disk {
				return nil, nil
			}
			// The transaction begins under the lock: it holds all that the index knows and that is not pending.
			origins = s.originNames()
			return s.db.Begin(false)
		}()
		if err != nil {
			return RangeResult{}, err
		}
		if tx != nil {
			err := s.reading(func() error { return w.read(newReader(tx, origins)) })
			rollback(tx)
			if err != nil {
				return RangeResult{}, err
			}
		}
		w.cut()
		if w.done {
			return w.result(current), nil
		}
	}
}

// rangeRevisionLocked checks a revision asked for; 0 or less is the current one.
func (s *Store) rangeRevisionLocked(revision int64) (int64, error) {
	switch {
	case revision <= 0:
		return s.revision, nil
	case revision < s.compacted:
		return 0, fmt.Errorf("range at %d, compacted is %d: %w", revision, s.compacted, ErrCompacted)
	case revision > s.revision:
		return 0, fmt.Errorf("range at %d, revision is %d: %w", revision, s.revision, ErrFutureRev)
	}
	return revision, nil
}

// walk collects the versions of a range in steps: first from the index, under the lock, then from the disk.
type walk struct {
	o    *RangeOptions
	span span
	at   int64
	from string // the next step begins here
	done bool

	count int64
	kvs   []*mvccpb.KeyValue
	todo  []todo // versions to read from disk
	disk  bool   // todo is not empty

	sized int // of a page: kvs whose bytes are counted
	bytes int
}

// todo is a version on disk and where it goes.
type todo struct {
	slot int
	rev  rev
}

func newWalk(o *RangeOptions, at int64) *walk {
	sp := newSpan(o.Key, o.End)
	return &walk{o: o, span: sp, at: at, from: sp.begin}
}

// stepLocked looks at up to n keys; all of them when n is negative.
func (w *walk) stepLocked(s *Store, n int) {
	w.todo, w.disk = w.todo[:0], false
	if w.span.single {
		w.done = true
		if it := s.index.get(asBytes(w.span.begin)); it != nil {
			w.take(s, it)
		}
		return
	}
	w.done = true
	s.index.ascend(asBytes(w.from), func(it *item) bool {
		if !w.span.before(it.key) {
			return false
		}
		if n == 0 {
			w.from, w.done = it.key, false
			return false
		}
		n--
		w.take(s, it)
		if w.o.Page && w.o.Limit > 0 && w.count > w.o.Limit {
			return false
		}
		return true
	})
}

// cut ends a page that is large enough.
func (w *walk) cut() {
	if !w.o.Page || w.o.MaxBytes <= 0 {
		return
	}
	for ; w.sized < len(w.kvs); w.sized++ {
		if w.bytes >= w.o.MaxBytes && w.sized > 0 {
			clear(w.kvs[w.sized:])
			w.kvs, w.done = w.kvs[:w.sized], true
			return
		}
		kv := w.kvs[w.sized]
		w.bytes += len(kv.Key) + len(kv.Value) + keyOverhead
	}
}

// keyOverhead is about what the numbers of a key take in an answer.
const keyOverhead = 32

func (w *walk) take(s *Store, it *item) {
	r, ok := it.visible(w.at)
	if !ok {
		return
	}
	w.count++
	if w.o.CountOnly || (w.o.Limit > 0 && int64(len(w.kvs)) >= w.o.Limit) {
		return
	}
	if w.o.KeysOnly && r.main == it.mod && r.sub == it.sub {
		w.kvs = append(w.kvs, &mvccpb.KeyValue{
			Key: []byte(it.key), CreateRevision: it.create, ModRevision: it.mod, Version: it.version, Lease: it.lease(),
		})
		return
	}
	if p := s.pendingLocked(r.main, r.sub); p != nil {
		w.kvs = append(w.kvs, w.keyValue(&p.Version))
		return
	}
	w.todo = append(w.todo, todo{slot: len(w.kvs), rev: r})
	w.kvs = append(w.kvs, nil)
	w.disk = true
}

func (w *walk) keyValue(v *Version) *mvccpb.KeyValue {
	kv := v.KeyValue()
	if w.o.KeysOnly {
		kv.Value = nil
	}
	return kv
}

func (w *walk) read(r *reader) error {
	read := 0
	for i, t := range w.todo {
		v, err := r.version(t.rev.main, t.rev.sub)
		if err != nil {
			return err
		}
		w.kvs[t.slot] = w.keyValue(v)
		read += len(v.Value)
		if w.o.Page && w.o.MaxBytes > 0 && read >= w.o.MaxBytes && i+1 < len(w.todo) {
			// The page is full: what is left of the step is not read.
			w.kvs, w.done = w.kvs[:w.todo[i+1].slot], true
			return nil
		}
	}
	return nil
}

func (w *walk) result(revision int64) RangeResult {
	return RangeResult{
		KVs: w.kvs, Count: w.count, Revision: revision,
		More: (w.o.Limit > 0 || w.o.Page) && !w.o.CountOnly && w.count > int64(len(w.kvs)),
	}
}

// Latest is the newest version of a live key with all that is known of it, nil when it is not live.
func (s *Store) Latest(key []byte) (*Version, error) {
	vs, err := s.versionsAt([]pointRead{{key: key, at: math.MaxInt64}})
	if err != nil {
		return nil, err
	}
	return vs[0], nil
}

// pointRead asks for the version of a key that is visible at a revision.
type pointRead struct {
	key []byte
	at  int64
}

// versionsAt answers each read with the version, or nil when there is none or its revision is compacted.
func (s *Store) versionsAt(reads []pointRead) ([]*Version, error) {
	out := make([]*Version, len(reads))
	var todos []todo
	var tx *bolt.Tx
	var origins []string
	err := func() error {
		s.mu.RLock()
		defer s.mu.RUnlock()
		if err := s.readableLocked(); err != nil {
			return err
		}
		for i, p := range reads {
			if p.at < s.compacted {
				continue
			}
			it := s.index.get(p.key)
			if it == nil {
				continue
			}
			r, ok := it.visible(p.at)
			if !ok {
				continue
			}
			if rec := s.pendingLocked(r.main, r.sub); rec != nil {
				out[i] = &rec.Version
				continue
			}
			todos = append(todos, todo{slot: i, rev: r})
		}
		if len(todos) == 0 {
			return nil
		}
		var err error
		origins = s.originNames()
		tx, err = s.db.Begin(false)
		return err
	}()
	if err != nil || tx == nil {
		return out, err
	}
	defer rollback(tx)
	err = s.reading(func() (err error) {
		r := newReader(tx, origins)
		for _, t := range todos {
			if out[t.slot], err = r.version(t.rev.main, t.rev.sub); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
