package store

import (
	"sort"
	"strings"
	"sync"
	"unsafe"

	"github.com/tidwall/btree"

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

func (it *item) setOlder(older []rev) { it.setMore(older, it.lease()) }
func (it *item) setLease(lease int64) { it.setMore(it.older(), lease) }

func (it *item) setMore(older []rev, lease int64) {
	switch {
	case len(older) == 0 && lease == 0:
		it.more = nil
	case it.more == nil:
		it.more = &more{older: older, lease: lease}
	default:
		it.more.older, it.more.lease = older, lease
	}
}

// index orders all keys that have a version or a grave. It has no lock of its own.
type index struct {
	tree   *btree.BTreeG[*item]
	probes sync.Pool // of *item, for lookups
	live   int
	graves map[uint16]*btree.BTreeG[*item] // by origin; ordered by origin revision, then key
	buried int
	leased leased
}

func newIndex() *index {
	x := &index{
		tree: btree.NewBTreeGOptions(func(a, b *item) bool { return a.key < b.key },
			btree.Options{NoLocks: true, Degree: 64}),
		graves: map[uint16]*btree.BTreeG[*item]{}, leased: leased{},
	}
	x.probes.New = func() any { return new(item) }
	return x
}

// asString views a key as a string for the time of a lookup.
func asString(key []byte) string { return unsafe.String(unsafe.SliceData(key), len(key)) }

func (x *index) get(key []byte) *item {
	p := x.probes.Get().(*item)
	p.key = asString(key)
	it, _ := x.tree.Get(p)
	p.key = ""
	x.probes.Put(p)
	return it
}

// ensure returns the key's item, a new one if need be. The key is copied: it may be a slice of a Raft entry.
func (x *index) ensure(key []byte) *item {
	if it := x.get(key); it != nil {
		return it
	}
	it := &item{key: string(key)}
	x.tree.Set(it)
	return it
}

// ascend calls fn for the items at or behind from.
func (x *index) ascend(from []byte, fn func(*item) bool) {
	p := x.probes.Get().(*item)
	p.key = asString(from)
	x.tree.Ascend(p, fn)
	p.key = ""
	x.probes.Put(p)
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
		it.setOlder(append(it.older(), rev{main: it.mod, sub: it.sub, tomb: !it.live}))
	}
	it.mod, it.sub, it.live = r.main, r.sub, !r.tomb
}

// pop forgets the oldest version and returns it.
func (it *item) pop() (r rev, ok bool) {
	if older := it.older(); len(older) > 0 {
		it.setOlder(older[1:])
		return older[0], true
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

// bury adds the item, which has its stamp already, to the graves.
func (x *index) bury(it *item) {
	t := x.graves[it.origin]
	if t == nil {
		t = btree.NewBTreeGOptions(func(a, b *item) bool {
			if a.originRevision != b.originRevision {
				return a.originRevision < b.originRevision
			}
			return a.key < b.key
		}, btree.Options{NoLocks: true})
		x.graves[it.origin] = t
	}
	t.Set(it)
	it.grave = true
	x.buried++
}

// unbury removes the item from the graves, if it is there.
func (x *index) unbury(it *item) {
	if !it.grave {
		return
	}
	x.graves[it.origin].Delete(it)
	it.grave = false
	x.buried--
}

// drop removes the item when nothing is known of its key any more.
func (x *index) drop(it *item) {
	if it.mod == 0 && len(it.older()) == 0 && !it.grave {
		x.tree.Delete(it)
	}
}

// span is a range of keys as etcd writes it.
type span struct {
	begin, end string
	open       bool // no end
	single     bool // begin only
}

// newSpan views key and end, which must not change while the span is in use.
func newSpan(key, end []byte) span {
	switch {
	case len(end) == 0:
		return span{begin: asString(key), single: true}
	case len(end) == 1 && end[0] == 0:
		return span{begin: asString(key), open: true}
	}
	return span{begin: asString(key), end: asString(end)}
}

func (s *span) contains(key string) bool {
	if s.single {
		return key == s.begin
	}
	return key >= s.begin && s.before(key)
}

// before says whether key is before the end of the span.
func (s *span) before(key string) bool {
	if s.single {
		return strings.Compare(key, s.begin) <= 0
	}
	return s.open || key < s.end
}

// asBytes views a string as bytes that must not be written.
func asBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
