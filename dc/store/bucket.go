package store

import (
	"fmt"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Buckets is into how many parts the digest is split; a power of two. A key's bucket is the highest bits of
// the xxhash64 of the key: the same in every datacenter, whatever is configured. The number is part of what
// datacenters tell each other.
const Buckets = 1 << bucketBits

const bucketBits = 12

// BucketOf is the bucket of a key.
func BucketOf(key []byte) int { return hashKey(asString(key)).bucket() }

// bucketSums is the digest by parts, and for each part and origin the highest origin revision that made a state
// of a key in it (its touch). Touches only grow while the store is open. See README.md, "Buckets".
type bucketSums struct {
	digests []uint64
	touches [][]int64 // by number of the origin, then bucket
}

func newBuckets() bucketSums { return bucketSums{digests: make([]uint64, Buckets)} }

func (b *bucketSums) change(key keyHash, delta uint64, origin uint16, originRevision int64) {
	i := key.bucket()
	b.digests[i] += delta
	for int(origin) >= len(b.touches) {
		b.touches = append(b.touches, make([]int64, Buckets))
	}
	if t := &b.touches[origin][i]; *t < originRevision {
		*t = originRevision
	}
}

// BucketState is the digests and touches of all buckets and the small named values, of one moment.
type BucketState struct {
	Index   uint64 // of the log
	Digests []uint64
	Touches map[string][]int64 // by origin, then bucket; 0 where it made nothing
	System  SystemBucket       // the system table as a bucket of its own
	Meta    map[string][]byte  // the values must not be changed
}

// SystemBucket is the digest of the system table and the highest revision of each origin in it.
type SystemBucket struct {
	Digest  uint64
	Touches map[string]int64
}

// Buckets copies the state of the buckets. It costs some tens of microseconds, in which no batch begins.
func (s *Store) Buckets() BucketState {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := BucketState{
		Index: s.applied.Index, Digests: slices.Clone(s.buckets.digests),
		Touches: make(map[string][]int64, len(s.buckets.touches)), Meta: maps.Clone(s.state),
	}
	names := s.originNames()
	for id, t := range s.buckets.touches {
		st.Touches[names[id]] = slices.Clone(t)
	}
	st.System.Digest, st.System.Touches = s.systemBucketLocked()
	return st
}

// KeyState is the newest state of a key, without its value.
type KeyState struct {
	Key  []byte
	Live bool   // false: deleted, and Geo is of its grave
	Hash uint64 // what the live value adds to the digest
	Geo  Geo    // without Seen
}

// BucketKeys lists the keys of a bucket behind one, at most `most` of them, as they are at the moment when
// each is looked at. It looks at all keys of the store, in steps that let batches in.
func (s *Store) BucketKeys(bucket int, after []byte, most int) (keys []KeyState, done bool, err error) {
	from := after
	for len(keys) < most {
		var end bool
		if keys, from, end, err = s.bucketStep(bucket, after, from, keys, most); err != nil || end {
			return keys, end, err
		}
	}
	return keys, false, nil
}

func (s *Store) bucketStep(bucket int, after, from []byte, keys []KeyState, most int) (_ []KeyState, next []byte, end bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.readableLocked(); err != nil {
		return nil, nil, false, err
	}
	names := s.originNames()
	looked, end := 0, true
	s.index.ascend(from, func(it *item) bool {
		if len(keys) == most || looked == exportStep {
			next, end = []byte(it.key), false
			return false
		}
		looked++
		if BucketOf(asBytes(it.key)) != bucket || it.key <= asString(after) {
			return true
		}
		if h, known := it.head(names); known {
			keys = append(keys, KeyState{Key: []byte(it.key), Live: h.Live, Hash: h.Hash, Geo: h.Geo})
		}
		return true
	})
	return keys, next, end, nil
}

// State reads the newest state of one key, with its value; a deleted one comes from its grave. It is false
// when nothing is known of the key.
func (s *Store) State(key []byte) (Version, bool, error) {
	f, tx, known, err := s.lookUp(key)
	if err != nil || !known {
		return Version{}, false, err
	}
	if tx != nil {
		defer rollback(tx)
		e := exporter{reader: newReader(tx, s.originNames())}
		if err := s.reading(func() error { return e.read(&f) }); err != nil {
			return Version{}, false, err
		}
	}
	return f.Version, true, nil
}

func (s *Store) lookUp(key []byte) (f found, tx *bolt.Tx, known bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.readableLocked(); err != nil {
		return f, nil, false, err
	}
	it := s.index.get(key)
	if it == nil || (!it.live && !it.grave) {
		return f, nil, false, nil
	}
	if f = s.findLocked(it); f.onDisk {
		tx, err = s.db.Begin(false)
	}
	return f, tx, true, err
}

// buckets compares the buckets with the index, which has been compared with the records.
func (c *check) buckets() error {
	var errs []error
	digests := make([]uint64, Buckets)
	c.s.index.tree.Scan(func(it *item) bool {
		if !it.live && !it.grave {
			return true
		}
		i := BucketOf(asBytes(it.key))
		digests[i] += it.hash
		if t := c.s.buckets.touches[it.origin][i]; t < it.originRevision {
			c.fail(&errs, "%q is of revision %d of %s, its bucket was touched up to %d", it.key, it.originRevision, c.r.origins[it.origin], t)
		}
		return true
	})
	for i, d := range digests {
		if d != c.s.buckets.digests[i] {
			c.fail(&errs, "digest of bucket %d is %016x, the data has %016x", i, c.s.buckets.digests[i], d)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("buckets: %w", errs[0])
}
