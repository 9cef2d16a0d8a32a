package store

import (
	"errors"
	"fmt"
	"math"

	bolt "go.etcd.io/bbolt"
)

// ScanDigest computes the digest from the live versions themselves. It reads all of them; it equals
// [Store.Digest] when nothing is written meanwhile.
func (s *Store) ScanDigest() (uint64, error) {
	var sum uint64
	var h hasher
	err := s.Iterate(func(v *Version) error {
		sum += h.sum(v.Key, v.Value, v.Lease, &v.Geo)
		return nil
	})
	for _, e := range s.System("") {
		sum += h.system(e)
	}
	return sum, err
}

// Iterate calls fn for every live version at one revision, ascending by key. Versions may share memory with
// the store and must not be changed. It fails with [ErrCompacted] when that revision is compacted away
// meanwhile.
func (s *Store) Iterate(fn func(*Version) error) error {
	at := s.Revision()
	from := []byte{0}
	for from != nil {
		var err error
		if from, err = s.iterateStep(from, at, fn); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) iterateStep(from []byte, at int64, fn func(*Version) error) (next []byte, err error) {
	var reads []pointRead
	s.mu.RLock()
	if at < s.compacted {
		s.mu.RUnlock()
		return nil, fmt.Errorf("iterate at %d, compacted meanwhile at %d: %w", at, s.compacted, ErrCompacted)
	}
	s.index.ascend(from, func(it *item) bool {
		if len(reads) == walkStep {
			next = []byte(it.key)
			return false
		}
		reads = append(reads, pointRead{key: asBytes(it.key), at: at})
		return true
	})
	s.mu.RUnlock()
	versions, err := s.versionsAt(reads)
	if err != nil {
		return nil, err
	}
	for _, v := range versions {
		if v == nil {
			continue
		}
		if err := fn(v); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// Check compares what memory holds with the disk and what is pending, and returns everything that does not
// fit. It keeps batches out while it reads all of the store.
func (s *Store) Check() error {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.readableLocked(); err != nil {
		return err
	}
	var errs []error
	err := s.db.View(func(tx *bolt.Tx) error {
		c := check{s: s, r: newReader(tx, s.originNames()), found: map[rev]string{}}
		errs = append(errs, c.versions(), c.index(), c.graves(tx), c.garbage(), c.requests(tx), c.leased(), c.system(tx), c.records(tx))
		return nil
	})
	return errors.Join(append(errs, err)...)
}

type check struct {
	s     *Store
	r     *reader
	found map[rev]string // version -> key, on disk and pending
}

func (c *check) fail(errs *[]error, format string, args ...any) {
	if len(*errs) < 20 {
		*errs = append(*errs, fmt.Errorf(format, args...))
	}
}

func (c *check) versions() error {
	var errs []error
	for k, body := c.r.cursor.First(); k != nil; k, body = c.r.cursor.Next() {
		main, sub, err := decodeRevKey(k)
		if err != nil {
			return err
		}
		v, err := c.r.decode(main, sub, body)
		if err != nil {
			return err
		}
		c.found[rev{main: main, sub: sub, tomb: v.Deleted}] = string(v.Key)
	}
	for _, b := range []*buffer{c.s.flushing, c.s.active} {
		if b == nil {
			continue
		}
		for _, r := range b.records {
			c.found[rev{main: r.Mod, sub: uint32(r.Sub), tomb: r.Deleted}] = string(r.Key)
		}
		for _, d := range b.deletes {
			if _, ok := c.found[d]; !ok {
				c.fail(&errs, "version %d.%d is to be deleted and not there", d.main, d.sub)
			}
			delete(c.found, d)
		}
	}
	return errors.Join(errs...)
}

func (c *check) index() error {
	var errs []error
	var h hasher
	var digest uint64
	live, buried := 0, 0
	take := func(it *item, r rev) {
		if c.found[r] != it.key {
			c.fail(&errs, "index has version %+v of %q, the records have %q", r, it.key, c.found[r])
		}
		delete(c.found, r)
	}
	c.s.index.tree.Scan(func(it *item) bool {
		for _, r := range it.older() {
			take(it, r)
		}
		if it.mod != 0 {
			take(it, rev{main: it.mod, sub: it.sub, tomb: !it.live})
		}
		if it.grave {
			buried++
		}
		switch {
		case c.s.index.byKey.get(it.key, hashKey(it.key)) != it:
			c.fail(&errs, "%q is not found by its key", it.key)
		case it.live && it.grave:
			c.fail(&errs, "%q is live and has a grave", it.key)
		case it.mod == 0 && !it.grave:
			c.fail(&errs, "nothing is known of %q", it.key)
		case it.live:
			live++
			v, err := c.newest(it)
			if err != nil {
				c.fail(&errs, "%q: %w", it.key, err)
				return true
			}
			if v.Create != it.create || v.Version != it.version || v.Lease != it.lease() || v.Geo.Stamp != it.stamp ||
				v.Geo.OriginRevision != it.originRevision || v.Geo.Origin != c.r.origins[it.origin] {
				c.fail(&errs, "index has %+v, its record %+v", *it, *v)
			}
			digest += h.sum(v.Key, v.Value, v.Lease, &v.Geo)
		}
		return true
	})
	for r, key := range c.found {
		c.fail(&errs, "version %+v of %q is not in the index", r, key)
	}
	if found := c.s.index.byKey.count; found != c.s.index.tree.Len() {
		c.fail(&errs, "%d keys can be found, %d are in order", found, c.s.index.tree.Len())
	}
	if live != c.s.index.live || buried != c.s.index.buried {
		c.fail(&errs, "%d keys and %d graves, counted as %d and %d", live, buried, c.s.index.live, c.s.index.buried)
	}
	errs = append(errs, c.buckets())
	for _, e := range c.s.system.entries {
		digest += h.system(e)
	}
	if digest != c.s.digest {
		c.fail(&errs, "digest is %016x, the data has %016x", c.s.digest, digest)
	}
	return errors.Join(errs...)
}

func (c *check) newest(it *item) (*Version, error) {
	if r := c.s.pendingLocked(it.mod, it.sub); r != nil {
		return &r.Version, nil
	}
	return c.r.version(it.mod, it.sub)
}

func (c *check) graves(tx *bolt.Tx) error {
	var errs []error
	graves := map[string]Geo{}
	err := tx.Bucket(bucketGraves).ForEach(func(k, v []byte) error {
		key, _, err := openStored(k, v)
		if err != nil {
			return err
		}
		g, err := c.r.grave(key)
		graves[string(key)] = g
		return err
	})
	for _, b := range []*buffer{c.s.flushing, c.s.active} {
		if b == nil {
			continue
		}
		for k, g := range b.graves {
			if g.none {
				delete(graves, k)
			} else {
				graves[k] = g.geo
			}
		}
	}
	if len(graves) != c.s.index.buried {
		c.fail(&errs, "%d graves, index has %d", len(graves), c.s.index.buried)
	}
	for k, g := range graves {
		it := c.s.index.get([]byte(k))
		if it == nil || !it.grave || it.stamp != g.Stamp || it.originRevision != g.OriginRevision || c.r.origins[it.origin] != g.Origin {
			c.fail(&errs, "grave %+v of %q is not in the index", g, k)
		}
	}
	for id, t := range c.s.index.graves {
		t.Scan(func(it *item) bool {
			if !it.grave || it.origin != id {
				c.fail(&errs, "%q is among the graves of origin %d", it.key, id)
			}
			return true
		})
	}
	return errors.Join(append(errs, err)...)
}

// garbage compares the versions that compaction may drop some day with the list of them.
func (c *check) garbage() error {
	want := 0
	c.s.index.tree.Scan(func(it *item) bool {
		want += len(it.older())
		if it.mod != 0 && !it.live {
			want++
		}
		return true
	})
	g := &c.s.garbage
	if got := g.len(); got != want {
		return fmt.Errorf("%d versions to drop are listed, the index has %d", got, want)
	}
	var err error
	last := int64(math.MinInt64)
	g.queue.each(func(d *doomed) {
		if d.revision() < last {
			err = fmt.Errorf("version to drop at %d is listed behind %d", d.revision(), last)
		}
		last = d.revision()
	})
	return err
}

// requests compares the places of ids with what lies there.
func (c *check) requests(tx *bolt.Tx) error {
	var errs []error
	l := &c.s.requests
	distinct := map[string]bool{}
	for _, id := range l.ids {
		distinct[id] = true
	}
	if len(distinct) != len(l.seqs) {
		c.fail(&errs, "%d requests in order, %d ids", len(distinct), len(l.seqs))
	}
	b := tx.Bucket(bucketRequests)
	for i, id := range l.ids {
		seq := l.first() + uint64(i)
		if l.seqs[id] < seq {
			c.fail(&errs, "request %q is number %d, listed as %d", id, seq, l.seqs[id])
		}
		var got []byte
		if r := c.s.active.request(seq); r != nil {
			got = r.id
		} else if r := c.s.flushing.request(seq); r != nil {
			got = r.id
		} else {
			var err error
			if got, _, err = readRequest(b, seq); err != nil {
				return errors.Join(append(errs, err)...)
			}
		}
		if string(got) != id {
			c.fail(&errs, "request %d is %q, listed as %q", seq, got, id)
		}
	}
	return errors.Join(errs...)
}
