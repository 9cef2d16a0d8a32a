package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/cespare/xxhash/v2"
	bolt "go.etcd.io/bbolt"

	"geogate/replication/event"
)

// flight is everything that one flush writes, taken under the lock.
type flight struct {
	*buffer
	chains        []chainFlight
	firstConflict uint64
	conflictTotal uint64
	plainConflict uint64
	firstRequest  uint64
	requestTotal  uint64

	revision, compacted int64
	applied             Applied
	digest              uint64

	// What the file will hold; Open compares, so that lost records are noticed.
	totalVersions, totalGraves, totalChains, totalLeases, totalSystem, totalRecords int

	originIDs map[string]uint16 // of the entries of the system table
}

// chainFlight is the part of a flush that belongs to one chain.
type chainFlight struct {
	chain       *chain
	head        chainHead
	reset, trim bool
	frames      []*event.Sealed
}

// arenaBytes is at least what versions and frames take encoded.
func (f *flight) arenaBytes() int {
	n := 0
	for _, r := range f.records {
		n += recordBound(r)
	}
	for i := range f.chains {
		for _, s := range f.chains[i].frames {
			n += sumBytes + sealedHeadBytes + len(s.Bytes)
		}
	}
	return n
}

// recordBound is at least the encoded size of a record.
func recordBound(r *record) int {
	return len(r.Key) + len(r.Value) + len(r.Geo.Seen) + sumBytes + 1 + 8 + 7*binary.MaxVarintLen64
}

// flush writes the active buffer in one transaction. It says whether there is deferred work that another
// flush should do soon. After an error the store takes no more writes: what a failed sync has left on the
// disk is unknown, so nothing may be built on it.
func (s *Store) flush() (more bool, err error) {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	s.holdLocked()
	f, more, err := s.takeFlight()
	if f == nil || err != nil {
		return false, err
	}
	start := time.Now()
	left, err := s.write(s.db, f)
	if err == nil {
		s.rewrite.add(f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if s.killed {
			return false, ErrClosed
		}
		s.failLocked(fmt.Errorf("flush to %s: %w", s.cfg.Path, err))
		return false, s.err
	}
	s.metrics.flushed(f, time.Since(start))
	s.land(f, left)
	return more || len(left) > 0, nil
}

// takeFlight makes the active buffer the one being flushed. Readers find its records in memory until the
// transaction is committed.
func (s *Store) takeFlight() (f *flight, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writableLocked(); err != nil {
		return nil, false, err
	}
	more = s.sweepLocked(s.cfg.CompactRecords)
	b := s.active
	if !b.touched {
		return nil, false, nil
	}
	f = &flight{
		buffer: b, revision: s.revision, compacted: s.compacted, applied: s.applied, digest: s.digest,
		firstConflict: s.conflicts.first(), conflictTotal: s.conflicts.total, plainConflict: s.conflicts.plain,
		firstRequest: s.requests.first(), requestTotal: s.requests.total,
		// Every version is the live one of its key or listed as garbage to be.
		totalVersions: s.index.live + s.garbage.len(), totalGraves: s.index.buried, totalChains: len(s.chains),
		totalLeases: len(s.leases),
		totalSystem: len(s.system.entries), totalRecords: s.records.Len(),
	}
	if len(b.system) > 0 {
		f.originIDs = maps.Clone(s.originIDs)
	}
	for _, c := range b.chains {
		f.chains = append(f.chains, chainFlight{
			chain: c, head: chainHead{incarnation: c.incarnation, head: c.head, floor: c.floor, plain: c.plain},
			reset: c.reset, trim: c.trim, frames: c.unflushed(),
		})
		c.reset, c.trim = false, false
	}
	s.flushing, s.active = b, newBuffer(len(b.records))
	return f, more, nil
}

// land lets go of what is on disk now. left are the chains of which the disk still holds trimmed frames.
func (s *Store) land(f *flight, left []*chain) {
	s.flushing = nil
	for i := range f.chains {
		f.chains[i].chain.flushed(f.chains[i].frames)
	}
	for _, c := range left {
		c.trim = true
		s.active.chains[c.origin] = c
		s.active.touched = true
	}
	applied := f.applied
	s.durable.Store(&applied)
	s.measure()
	s.roomy.Broadcast()
}

// measure reads the size of the file; no transaction may be writing.
func (s *Store) measure() {
	stats := s.db.Stats()
	s.free.Store(int64(stats.FreePageN+stats.PendingPageN) * int64(s.db.Info().PageSize))
	if tx, err := s.db.Begin(false); err == nil {
		s.size.Store(tx.Size())
		rollback(tx)
	}
}

// write makes a flight one transaction of a database, the store's own or the one that is to take its place. bbolt
// panics where it meets a page that can't be right; that is an error here.
func (s *Store) write(db *bolt.DB, f *flight) (left []*chain, err error) {
	tx, err := db.Begin(true)
	if err != nil {
		return nil, err
	}
	a := s.arenas.take(f.arenaBytes())
	err = guarded(func() (err error) {
		left, err = s.fill(tx, f, a)
		return err
	})
	if err == nil {
		s.arenas.give(a) // the transaction is over: nothing of it is in use
	} else {
		// The error that matters is err; a failed commit has rolled back already. Rolling back reads all pages
		// for the free ones, and where that ends in a panic bbolt keeps its lock for good.
		if errors.Is(guarded(tx.Rollback), errPanic) {
			s.locked.Store(true)
		}
	}
	return left, err
}

func (s *Store) fill(tx *bolt.Tx, f *flight, a *arena) (left []*chain, err error) {
	if err := writeOrigins(tx, f.origins); err != nil {
		return nil, fmt.Errorf("origins: %w", err)
	}
	if err := writeVersions(tx, f.buffer, a); err != nil {
		return nil, fmt.Errorf("versions: %w", err)
	}
	if err := writeGraves(tx, f.graves); err != nil {
		return nil, fmt.Errorf("graves: %w", err)
	}
	for i := range f.chains {
		more, err := writeChain(tx, &f.chains[i], a, s.cfg.CompactRecords)
		if err != nil {
			return nil, fmt.Errorf("chain of %s: %w", f.chains[i].chain.origin, err)
		}
		if more {
			left = append(left, f.chains[i].chain)
		}
	}
	if err := writeConflicts(tx, f); err != nil {
		return nil, fmt.Errorf("conflicts: %w", err)
	}
	if err := writeRequests(tx, f); err != nil {
		return nil, fmt.Errorf("requests: %w", err)
	}
	if err := writeLeases(tx, f); err != nil {
		return nil, fmt.Errorf("leases: %w", err)
	}
	if err := writeSystem(tx, f); err != nil {
		return nil, fmt.Errorf("system: %w", err)
	}
	if err := writeRecords(tx, f); err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	if err := writeState(tx, f); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	select {
	case <-s.closing: // killed: this flush never happened
		return nil, ErrClosed
	default:
	}
	return left, s.cfg.Commit(tx)
}

func writeOrigins(tx *bolt.Tx, origins []origin) error {
	b := tx.Bucket(bucketOrigins)
	for _, o := range origins {
		if err := b.Put(binary.BigEndian.AppendUint16(nil, o.id), []byte(o.name)); err != nil {
			return err
		}
	}
	return nil
}

// writeVersions appends the records, then deletes what compaction dropped, which may be among them.
func writeVersions(tx *bolt.Tx, buf *buffer, a *arena) error {
	b := tx.Bucket(bucketVersions)
	b.FillPercent = appendFill
	var key [revKeyBytes]byte
	for _, r := range buf.records {
		start := len(a.b)
		a.b = appendRecord(a.b, &r.Version, r.origin)
		if err := b.Put(appendRevKey(key[:0], r.Mod, uint32(r.Sub)), a.since(start)); err != nil {
			return err
		}
	}
	for _, r := range buf.deletes {
		if err := b.Delete(appendRevKey(key[:0], r.main, r.sub)); err != nil {
			return err
		}
	}
	return nil
}

func writeGraves(tx *bolt.Tx, graves map[string]*grave) error {
	b := tx.Bucket(bucketGraves)
	keys := make([]string, 0, len(graves))
	for k := range graves {
		keys = append(keys, k)
	}
	sort.Strings(keys) // neighbours share pages
	for _, k := range keys {
		g := graves[k]
		var err error
		if g.none {
			err = b.Delete(storedKey([]byte(k)))
		} else {
			err = b.Put(storedKey([]byte(k)), storedValue([]byte(k), encodeGrave([]byte(k), &g.geo, g.origin)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeChain says whether more trimmed frames are left on disk than one flush should delete.
func writeChain(tx *bolt.Tx, f *chainFlight, a *arena, most int) (more bool, err error) {
	chains := tx.Bucket(bucketChains)
	name := []byte(f.chain.origin)
	if f.reset && chains.Bucket(name) != nil {
		if err := chains.DeleteBucket(name); err != nil {
			return false, err
		}
	}
	b, err := chains.CreateBucketIfNotExists(name)
	if err != nil {
		return false, err
	}
	b.FillPercent = appendFill
	if f.trim && !f.reset {
		if more, err = deleteUpTo(b, uint64(f.head.floor), most); err != nil {
			return false, err
		}
	}
	for _, s := range f.frames {
		start := len(a.b)
		a.b = appendSealed(a.b, s)
		if err := b.Put(encodeSeq(uint64(s.Last)), a.since(start)); err != nil {
			return false, err
		}
	}
	return more, b.Put(chainHeadKey, appendChainHead(nil, f.chain.origin, f.head))
}

// deleteUpTo deletes the keys that are numbers up to a bound, at most a given number of them.
func deleteUpTo(b *bolt.Bucket, bound uint64, most int) (more bool, err error) {
	var doomed [][]byte
	c := b.Cursor()
	for k, _ := c.First(); len(k) == seqBytes && binary.BigEndian.Uint64(k) <= bound; k, _ = c.Next() {
		if len(doomed) == most {
			more = true
			break
		}
		doomed = append(doomed, slices.Clone(k)) // deleting while iterating would skip some
	}
	for _, k := range doomed {
		if err := b.Delete(k); err != nil {
			return false, err
		}
	}
	return more, nil
}

func writeConflicts(tx *bolt.Tx, f *flight) error {
	b := tx.Bucket(bucketConflicts)
	b.FillPercent = appendFill
	for i := range f.conflicts {
		c := &f.conflicts[i]
		if c.seq < f.firstConflict {
			continue
		}
		if err := b.Put(encodeSeq(c.seq), appendConflict(nil, c)); err != nil {
			return err
		}
	}
	if len(f.conflicts) == 0 {
		return nil
	}
	// A ring drops about as many as it takes; after its bounds were lowered it takes a few flushes longer.
	_, err := deleteUpTo(b, f.firstConflict-1, len(f.conflicts)+conflictSweep)
	return err
}

func writeState(tx *bolt.Tx, f *flight) error {
	b := tx.Bucket(bucketState)
	for name, value := range f.state {
		var err error
		if value == nil {
			err = b.Delete([]byte(name))
		} else {
			err = b.Put([]byte(name), value)
		}
		if err != nil {
			return err
		}
	}
	m := tx.Bucket(bucketMeta)
	format := uint64(formatVersion)
	if tx.Bucket(bucketSystem) != nil {
		format = formatSystem
	}
	if tx.Bucket(bucketRecords) != nil {
		format = formatRecords
	}
	for _, kv := range []struct{ key, value []byte }{
		{metaFormat, encodeSeq(format)},
		{metaApplied, encodeApplied(f.applied)},
		{metaRevision, encodeSeq(uint64(f.revision))},
		{metaCompacted, encodeSeq(uint64(f.compacted))},
		{metaConflicts, encodeSeq(f.conflictTotal)},
		{metaPlain, encodeSeq(f.plainConflict)},
		{metaDigest, encodeSeq(f.digest)},
		{metaVersions, encodeSeq(uint64(f.totalVersions))},
		{metaGraves, encodeSeq(uint64(f.totalGraves))},
		{metaChains, encodeSeq(uint64(f.totalChains))},
	} {
		if err := m.Put(kv.key, kv.value); err != nil {
			return err
		}
	}
	return m.Put(metaSum, encodeSeq(smallSum(tx)))
}

// smallSum is a checksum over everything small: what is not a version, a grave, a frame or a conflict.
func smallSum(tx *bolt.Tx) uint64 {
	d := xxhash.New()
	var length [4]byte
	for _, name := range [][]byte{bucketMeta, bucketState, bucketOrigins} {
		c := tx.Bucket(name).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if bytes.Equal(k, metaSum) && bytes.Equal(name, bucketMeta) {
				continue
			}
			for _, b := range [][]byte{k, v} {
				binary.BigEndian.PutUint32(length[:], uint32(len(b)))
				_, _ = d.Write(length[:]) // never fails
				_, _ = d.Write(b)
			}
		}
	}
	return d.Sum64()
}
