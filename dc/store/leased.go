package store

import (
	"fmt"
	"slices"
)

// leaseRef is a lease of a DC: ids are given by the DC that grants, so two DCs may use the same one.
type leaseRef struct {
	origin uint16
	id     int64
}

// leased finds keys by the lease of their newest version. It follows the index and is not stored: whatever
// replaces a version (a put here, a frame of another DC, a snapshot) moves the key.
type leased map[leaseRef]map[*item]struct{}

// attach enters an item whose lease and origin are those of its newest version.
func (l leased) attach(it *item) {
	ref := leaseRef{it.origin, it.lease()}
	keys := l[ref]
	if keys == nil {
		keys = map[*item]struct{}{}
		l[ref] = keys
	}
	keys[it] = struct{}{}
}

// detach takes an item out; it must have the lease and origin with which it was attached.
func (l leased) detach(it *item) {
	ref := leaseRef{it.origin, it.lease()}
	keys := l[ref]
	delete(keys, it)
	if len(keys) == 0 {
		delete(l, ref)
	}
}

// attachedLocked are the keys of a lease, ascending. They view the index's strings and must not be written.
func (s *Store) attachedLocked(origin string, lease int64) [][]byte {
	id, ok := s.originIDs[origin]
	if !ok {
		return nil
	}
	items := s.index.leased[leaseRef{id, lease}]
	if len(items) == 0 {
		return nil
	}
	keys := make([][]byte, 0, len(items))
	for it := range items {
		keys = append(keys, asBytes(it.key))
	}
	slices.SortFunc(keys, slices.Compare)
	return keys
}

// Attached are the live keys whose newest version was written in origin with the lease, ascending; this batch
// included. They must not be changed.
func (b *Batch) Attached(origin string, lease int64) [][]byte {
	return b.s.attachedLocked(origin, lease)
}

// Attached are the live keys whose newest version was written in origin with the lease, ascending. They must
// not be changed.
func (s *Store) Attached(origin string, lease int64) [][]byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.attachedLocked(origin, lease)
}

// LeasesInUse are the leases that keys written in origin name, ascending, whether they are granted or not.
func (b *Batch) LeasesInUse(origin string) []int64 {
	id, ok := b.s.originIDs[origin]
	if !ok {
		return nil
	}
	var out []int64
	for ref := range b.s.index.leased {
		if ref.origin == id {
			out = append(out, ref.id)
		}
	}
	slices.Sort(out)
	return out
}

// LeasedKey is a live key with a lease, and the origin of its newest version.
type LeasedKey struct {
	Origin string
	Key    []byte
}

// AttachedAnywhere are the live keys whose newest version names a lease, whatever datacenter has written it, by
// key. They must not be changed.
func (b *Batch) AttachedAnywhere(lease int64) []LeasedKey { return b.s.attachedAnywhereLocked(lease) }

// AttachedAnywhere is that of a batch, of the present state.
func (s *Store) AttachedAnywhere(lease int64) []LeasedKey {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.attachedAnywhereLocked(lease)
}

func (s *Store) attachedAnywhereLocked(lease int64) (out []LeasedKey) {
	for id, name := range s.originNames() {
		for it := range s.index.leased[leaseRef{uint16(id), lease}] {
			out = append(out, LeasedKey{Origin: name, Key: asBytes(it.key)})
		}
	}
	slices.SortFunc(out, func(a, b LeasedKey) int { return slices.Compare(a.Key, b.Key) })
	return out
}

// LeasesOf are the leases that keys name for which match holds, ascending.
func (b *Batch) LeasesOf(match func(key []byte) bool) (out []int64) {
	for ref, items := range b.s.index.leased {
		for it := range items {
			if match(asBytes(it.key)) {
				out = append(out, ref.id)
				break
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// LeaseNames is how many leases keys name, counted by origin.
func (b *Batch) LeaseNames() int { return len(b.s.index.leased) }

// IsLeased says whether any key names the lease.
func (b *Batch) IsLeased(lease int64) bool {
	for id := range b.s.originNames() {
		if len(b.s.index.leased[leaseRef{uint16(id), lease}]) > 0 {
			return true
		}
	}
	return false
}

// leased compares what is attached with the items themselves.
func (c *check) leased() error {
	want := 0
	var err error
	c.s.index.tree.Scan(func(it *item) bool {
		if it.lease() == 0 {
			return true
		}
		want++
		if _, ok := c.s.index.leased[leaseRef{it.origin, it.lease()}][it]; !ok || !it.live {
			err = fmt.Errorf("%q has lease %d of origin %d, live: %t, attached: %t", it.key, it.lease(), it.origin, it.live, ok)
		}
		return err == nil
	})
	got := 0
	for _, items := range c.s.index.leased {
		got += len(items)
	}
	if err == nil && got != want {
		err = fmt.Errorf("%d keys are attached to leases, want %d", got, want)
	}
	return err
}
