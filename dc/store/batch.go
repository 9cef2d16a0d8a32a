package store

import (
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Batch is the effects of one Raft entry. Readers see all of it or nothing. It belongs to the goroutine
// that called Begin and ends with Commit or Abort.
type Batch struct {
	s     *Store
	start int      // first record of the batch in the active buffer
	open  bool     // the transaction has taken its revision
	sub   int64    // of the next change in it
	tx    *bolt.Tx // for reads from disk; nil until the first

	keepGraves bool   // see KeepGraves
	kept       uint32 // notes of graves in this batch
}

// Begin starts a batch and keeps readers out until it ends. It waits while too much is pending for the
// disk, and fails once the store is broken or closed.
func (s *Store) Begin() (*Batch, error) {
	s.mu.Lock()
	for s.writableLocked() == nil && s.pendingBytesLocked() > s.cfg.MaxPendingBytes {
		if s.running > 0 {
			s.metrics.stalls.Inc()
			s.wake()
			s.roomy.Wait()
			continue
		}
		s.mu.Unlock()
		_, err := s.flush() // nobody else does
		s.mu.Lock()
		if err != nil {
			break
		}
	}
	if err := s.writableLocked(); err != nil {
		s.mu.Unlock()
		return nil, err
	}
	return &Batch{s: s, start: len(s.active.records)}, nil
}

func (s *Store) pendingBytesLocked() int64 {
	n := s.active.bytes
	if s.flushing != nil {
		n += s.flushing.bytes
	}
	return n
}

// tellDirty wakes the flusher once for each flush: a store that nothing is written to sleeps.
func (s *Store) tellDirty() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

func (s *Store) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Revision is the current revision, this batch included.
func (b *Batch) Revision() int64 { return b.s.revision }

// Compacted is the compacted revision, this batch included.
func (b *Batch) Compacted() int64 { return b.s.compacted }

// TakeRevision gives the transaction its revision although nothing may change in it.
func (b *Batch) TakeRevision() int64 {
	if !b.open {
		b.open = true
		b.s.revision++
	}
	return b.s.revision
}

// Graves is how many deleted keys, and entries of the system table, are remembered.
func (b *Batch) Graves() int { return b.s.index.buried + b.s.system.buried }

// NextTxn starts a transaction: its first change takes the next revision, and all of it shares that.
func (b *Batch) NextTxn() { b.open, b.sub = false, 0 }

// next is the place of the next change.
func (b *Batch) next() rev {
	if !b.open {
		b.open = true
		b.s.revision++
	}
	r := rev{main: b.s.revision, sub: uint32(b.sub)}
	b.sub++
	return r
}

// Put makes value the newest version of key and removes its grave. The slices are kept, not copied.
func (b *Batch) Put(key, value []byte, lease int64, g Geo) int64 {
	s := b.s
	r := b.next()
	origin := s.internLocked(g.Origin)
	h := hashKey(asString(key))
	it := s.index.ensure(key, h)
	before := uint64(0)
	if it.live {
		before = it.hash
		it.version++
		s.garbage.add(r.main, it) // a tombstone was counted when it came
	} else {
		it.create, it.version = r.main, 1
		s.index.live++
		if it.grave {
			if b.keepGraves {
				b.keepGrave(it, key, &g)
			}
			s.index.unbury(it)
			s.active.bury(key, &grave{none: true})
		}
	}
	it.push(r)
	if it.lease() != 0 {
		s.index.leased.detach(it)
	}
	it.setLease(lease)
	it.setGeo(&g, origin)
	if lease != 0 {
		s.index.leased.attach(it)
	}
	it.hash = s.hasher.sum(key, value, lease, &g)
	s.digest += it.hash - before
	s.buckets.change(h, it.hash-before, origin, g.OriginRevision)
	s.active.add(&Version{
		Key: key, Value: value, Mod: r.main, Sub: int64(r.sub),
		Create: it.create, Version: it.version, Lease: lease, Geo: g,
	}, origin)
	return r.main
}

// Delete writes a tombstone and a grave. The key must be live.
func (b *Batch) Delete(key []byte, g Geo) int64 {
	s := b.s
	h := hashKey(asString(key))
	it := s.index.find(key, h)
	if it == nil || !it.live {
		panic(fmt.Sprintf("store: delete of %q, which is not live", key))
	}
	r := b.next()
	r.tomb = true
	origin := s.internLocked(g.Origin)
	s.digest -= it.hash
	s.buckets.change(h, -it.hash, origin, g.OriginRevision)
	s.index.live--
	s.garbage.add(r.main, it)
	it.push(r)
	if it.lease() != 0 {
		s.index.leased.detach(it)
	}
	s.garbage.addTombstone(r.main, it)
	it.setLease(0)
	it.create, it.version, it.hash = 0, 0, 0
	it.setGeo(&g, origin)
	s.index.bury(it)
	s.active.add(&Version{Key: key, Mod: r.main, Sub: int64(r.sub), Deleted: true, Geo: g}, origin)
	s.active.bury(key, &grave{geo: g, origin: origin})
	return r.main
}

// Bury sets or replaces the grave of a key that is not live. It takes no revision and is no event.
func (b *Batch) Bury(key []byte, g Geo) {
	s := b.s
	h := hashKey(asString(key))
	it := s.index.ensure(key, h)
	if it.live {
		panic(fmt.Sprintf("store: grave for %q, which is live at revision %d", key, it.mod))
	}
	origin := s.internLocked(g.Origin)
	if b.keepGraves && it.grave {
		b.keepGrave(it, key, &g)
	}
	s.index.unbury(it)
	it.setGeo(&g, origin)
	s.index.bury(it)
	s.buckets.change(h, 0, origin, g.OriginRevision)
	s.active.bury(key, &grave{geo: g, origin: origin})
}

// Head is the newest state of a key, from memory; false when the key never was, or is forgotten.
func (b *Batch) Head(key []byte) (Head, bool) {
	it := b.s.index.get(key)
	if it == nil {
		return Head{}, false
	}
	return it.head(b.s.originNames())
}

// Get is the newest version of a live key, nil when it is not live. It must not be changed.
func (b *Batch) Get(key []byte) (*Version, error) {
	it := b.s.index.get(key)
	if it == nil || !it.live {
		return nil, nil
	}
	return b.version(it.mod, it.sub)
}

func (b *Batch) version(main int64, sub uint32) (*Version, error) {
	if r := b.s.pendingLocked(main, sub); r != nil {
		return &r.Version, nil
	}
	r, err := b.reader()
	if err != nil {
		return nil, err
	}
	var v *Version
	err = b.s.reading(func() (err error) {
		v, err = r.version(main, sub)
		return err
	})
	return v, err
}

// reader reads the disk as it is during the batch: nothing can end up there meanwhile that is not also
// pending.
func (b *Batch) reader() (*reader, error) {
	if b.tx == nil {
		tx, err := b.s.db.Begin(false)
		if err != nil {
			return nil, fmt.Errorf("read during a batch: %w", err)
		}
		b.tx = tx
	}
	return newReader(b.tx, b.s.originNames()), nil
}

// Seen is what the origin of the key's newest state had applied then, nil when nothing is known. A failure
// to read it is fatal: the batch may be committed, but Begin fails from then on and nothing is flushed.
func (b *Batch) Seen(key []byte) []byte {
	seen, err := b.seen(key)
	if err != nil {
		b.s.failLocked(fmt.Errorf("read what the writer of %q had seen: %w", key, err))
	}
	return seen
}

func (b *Batch) seen(key []byte) ([]byte, error) {
	it := b.s.index.get(key)
	switch {
	case it == nil || (!it.live && !it.grave):
		return nil, nil
	case it.live:
		v, err := b.version(it.mod, it.sub)
		if err != nil {
			return nil, err
		}
		return v.Geo.Seen, nil
	}
	for _, buf := range []*buffer{b.s.active, b.s.flushing} {
		if buf == nil {
			continue
		}
		if g := buf.graves[asString(key)]; g != nil {
			return g.geo.Seen, nil
		}
	}
	r, err := b.reader()
	if err != nil {
		return nil, err
	}
	var g Geo
	err = b.s.reading(func() (err error) {
		g, err = r.grave(key)
		return err
	})
	return g.Seen, err
}

// Range reads at the state that includes the batch.
func (b *Batch) Range(o RangeOptions) (RangeResult, error) {
	s := b.s
	at, err := s.rangeRevisionLocked(o.Revision)
	if err != nil {
		return RangeResult{}, err
	}
	w := newWalk(&o, at)
	w.stepLocked(s, -1)
	if w.disk {
		r, err := b.reader()
		if err != nil {
			return RangeResult{}, err
		}
		if err := s.reading(func() error { return w.read(r) }); err != nil {
			return RangeResult{}, err
		}
	}
	return w.result(s.revision), nil
}

// Meta returns a small named value, nil when there is none. It must not be changed.
func (b *Batch) Meta(name string) []byte { return b.s.state[name] }

// SetMeta sets a small named value; nil removes it. The value is kept, not copied.
func (b *Batch) SetMeta(name string, value []byte) {
	if value == nil {
		delete(b.s.state, name)
	} else {
		b.s.state[name] = value
	}
	b.s.active.state[name] = value
	b.s.active.bytes += int64(len(name)+len(value)) + overhead
}

// Commit makes the batch visible, queues it to the watchers, and lets readers in again.
func (b *Batch) Commit(a Applied) {
	s := b.s
	b.closeReader()
	s.applied = a
	if !s.active.touched {
		s.active.touched = true
		s.tellDirty()
	}
	s.publishLocked()
	s.hub.notify(s.active.records[b.start:])
	if s.active.bytes > s.cfg.FlushBytes {
		s.wake()
	}
	s.fireChanged()
	b.s = nil // a call after the end is a bug: let it be seen
	s.mu.Unlock()
}

// Abort ends a batch that can't be completed. The state in memory is half changed then, so the store is
// broken with cause: nothing more is read, applied or flushed.
func (b *Batch) Abort(cause error) {
	s := b.s
	b.closeReader()
	s.aborted = true
	s.failLocked(fmt.Errorf("batch aborted: %w", cause))
	b.s = nil
	s.mu.Unlock()
}

func (b *Batch) closeReader() {
	if b.tx != nil {
		rollback(b.tx)
		b.tx = nil
	}
}

func rollback(tx *bolt.Tx) {
	if err := tx.Rollback(); err != nil {
		panic(fmt.Sprintf("store: end of a read: %v", err)) // only when it ended before
	}
}
