package store

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// itemTable finds items by key while a file is read, and then gives them in order. Building the ordered
// index from a sorted list takes a fraction of the time that inserting a million keys at random does.
type itemTable struct {
	items []*item
	slots []slot // open addressing, at most half full
}

type slot struct {
	hash uint32
	item uint32 // index into items, plus one; 0 is an empty slot
}

const firstSlots = 1 << 10

func (t *itemTable) ensure(key []byte) *item {
	if 2*len(t.items) >= len(t.slots) {
		t.grow()
	}
	h := uint32(xxhash.Sum64(key))
	mask := uint32(len(t.slots) - 1)
	i := h & mask
	for ; t.slots[i].item != 0; i = (i + 1) & mask {
		if s := t.slots[i]; s.hash == h && t.items[s.item-1].key == asString(key) {
			return t.items[s.item-1]
		}
	}
	it := &item{key: string(key)}
	t.items = append(t.items, it)
	t.slots[i] = slot{hash: h, item: uint32(len(t.items))}
	return it
}

func (t *itemTable) grow() {
	old := t.slots
	t.slots = make([]slot, max(firstSlots, 2*len(old)))
	mask := uint32(len(t.slots) - 1)
	for _, s := range old {
		if s.item == 0 {
			continue
		}
		i := s.hash & mask
		for t.slots[i].item != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = s
	}
}

// sorted calls fn for the items ascending by key. Most comparisons are of the eight bytes behind what all
// keys begin with, and touch no key.
func (t *itemTable) sorted(fn func(*item)) {
	if len(t.items) == 0 {
		return
	}
	common := len(t.items[0].key)
	for _, it := range t.items {
		common = commonPrefix(t.items[0].key[:common], it.key)
	}
	type entry struct {
		head uint64
		item *item
	}
	entries := make([]entry, len(t.items))
	for i, it := range t.items {
		var b [8]byte
		copy(b[:], it.key[common:])
		entries[i] = entry{head: binary.BigEndian.Uint64(b[:]), item: it}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		return strings.Compare(a.item.key, b.item.key)
	})
	for i := range entries {
		fn(entries[i].item)
	}
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
