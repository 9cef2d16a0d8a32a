package store

import (
	"sort"

	"geogate/replication/event"
)

// item is what the index knows of a key. There is one per key, so its size, 80 bytes, is most of the store's
// memory: what few keys have is apart, and Seen stays on disk.
type item struct {
	key  string
	more *more // nil when there is nothing in it

	mod     int64 // newest version kept, put or tombstone; 0 when none is
	create  int64
	version int64

	hash           uint64 // what the live value adds to the digest
	stamp          event.Stamp
	originRevision int64
	sub            uint32
	origin         uint16
	live           bool // the newest version is a put
	grave          bool // deleted, and the stamp of that is still needed; never together with live
}

// more is what a key has that was put more than once, or with a lease.
type more struct {
	older []rev // versions kept before the newest, ascending
	lease int64
	first [1]rev // where older begins, which saves an allocation
}

func (it *item) older() []rev {
	if it.more == nil {
		return nil
	}
	return it.more.older
}

func (it *item) lease() int64 {
	if it.more == nil {
		return 0
	}
	return it.more.lease
}

func (it *item) setLease(lease int64) {
	if it.more == nil && lease != 0 {
		it.more = &more{}
	}
	if it.more != nil {
		it.more.lease = lease
		it.tidy()
	}
}

func (it *item) addOlder(r rev) {
	if it.more == nil {
		it.more = &more{}
	}
	if m := it.more; len(m.older) == 0 {
		m.first[0] = r
		m.older = m.first[:]
	} else {
		m.older = append(m.older, r)
	}
}

// takeOlder forgets the oldest of the older versions; there must be one.
func (it *item) takeOlder() rev {
	m := it.more
	r := m.older[0]
	m.older = m.older[1:]
	it.tidy()
	return r
}

// tidy lets go of what holds nothing.
func (it *item) tidy() {
	if len(it.more.older) == 0 && it.more.lease == 0 {
		it.more = nil
	}
}

// visible is the version of the item that a reader at revision at sees; ok is false when there is none.
func (it *item) visible(at int64) (r rev, ok bool) {
	if it.mod != 0 && it.mod <= at {
		return rev{main: it.mod, sub: it.sub}, it.live
	}
	older := it.older()
	n := sort.Search(len(older), func(i int) bool { return older[i].main > at })
	if n == 0 {
		return rev{}, false
	}
	r = older[n-1]
	return r, !r.tomb
}

// push makes a version the newest. The one before it moves to older.
func (it *item) push(r rev) {
	if it.mod != 0 {
		it.addOlder(rev{main: it.mod, sub: it.sub, tomb: !it.live})
	}
	it.mod, it.sub, it.live = r.main, r.sub, !r.tomb
}

// pop forgets the oldest version and returns it.
func (it *item) pop() (r rev, ok bool) {
	if len(it.older()) > 0 {
		return it.takeOlder(), true
	}
	if it.mod == 0 {
		return rev{}, false
	}
	r = rev{main: it.mod, sub: it.sub, tomb: !it.live}
	it.mod, it.sub = 0, 0
	return r, true
}

func (it *item) head(origins []string) (Head, bool) {
	if !it.live && !it.grave {
		return Head{}, false
	}
	h := Head{
		Live: it.live, Mod: it.mod, Sub: int64(it.sub),
		Geo: Geo{Origin: origins[it.origin], OriginRevision: it.originRevision, Stamp: it.stamp},
	}
	if it.live {
		h.Create, h.Version, h.Lease, h.Hash = it.create, it.version, it.lease(), it.hash
	}
	return h, true
}

// setGeo replaces stamp and origin; the item must not be in a tree of graves then.
func (it *item) setGeo(g *Geo, origin uint16) {
	it.stamp, it.originRevision, it.origin = g.Stamp, g.OriginRevision, origin
}
