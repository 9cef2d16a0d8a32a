package store

import (
	"strings"
	"sync"
	"unsafe"

	"github.com/tidwall/btree"
)

// index finds and orders all keys that have a version or a grave. It has no lock of its own.
type index struct {
	tree   *btree.BTreeG[*item]
	byKey  finder    // of the same items: one key is found several times faster than in the tree
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

func (x *index) get(key []byte) *item { return x.find(key, hashKey(asString(key))) }

func (x *index) find(key []byte, h keyHash) *item { return x.byKey.get(asString(key), h) }

// ensure returns the key's item, a new one if need be. The key is copied: it may be a slice of a Raft entry.
func (x *index) ensure(key []byte, h keyHash) *item {
	if it := x.find(key, h); it != nil {
		return it
	}
	it := &item{key: string(key)}
	x.tree.Set(it)
	x.byKey.add(it, h)
	return it
}

// load fills an empty index.
func (x *index) load(items *itemTable, each func(*item, keyHash)) {
	items.sorted(func(it *item) {
		h := hashKey(it.key)
		x.tree.Load(it)
		x.byKey.add(it, h)
		each(it, h)
	})
}

// ascend calls fn for the items at or behind from.
func (x *index) ascend(from []byte, fn func(*item) bool) {
	p := x.probes.Get().(*item)
	p.key = asString(from)
	x.tree.Ascend(p, fn)
	p.key = ""
	x.probes.Put(p)
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
		x.byKey.remove(it)
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
