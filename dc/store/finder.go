package store

import "github.com/cespare/xxhash/v2"

// finder finds items by key: a hash table of open addressing, in parts that grow by themselves, so that nobody waits
// while a large one is laid out anew. An item takes 10 to 21 bytes in it; in a Go map it takes 56.
type finder struct {
	parts [finderParts]finderPart
	count int
}

const finderParts = 256

// finderPart holds the keys whose hashes begin with the same byte. Both slices have the same length, a power of two.
type finderPart struct {
	marks []uint8 // markEmpty, markGone, or a byte of the hash: most keys that differ are told apart without a look at them
	items []*item
	taken int // marks that are not markEmpty
}

const (
	markEmpty uint8 = iota
	markGone
	markFirst
)

const firstMarks = 8

// keyHash is the xxhash64 of a key. A write needs it in two places, so it is computed once.
type keyHash uint64

func hashKey(key string) keyHash { return keyHash(xxhash.Sum64String(key)) }

func (h keyHash) bucket() int { return int(h >> (64 - bucketBits)) }

// place says where the search for a key begins.
func (f *finder) place(h keyHash) (p *finderPart, at uint64, mark uint8) {
	return &f.parts[h>>56], uint64(h), max(uint8(h>>48), markFirst)
}

func (f *finder) get(key string, h keyHash) *item {
	p, at, mark := f.place(h)
	if len(p.marks) == 0 {
		return nil
	}
	last := uint64(len(p.marks) - 1)
	for ; ; at++ {
		switch p.marks[at&last] {
		case markEmpty:
			return nil
		case mark:
			if it := p.items[at&last]; it.key == key {
				return it
			}
		}
	}
}

// add takes an item whose key is not there.
func (f *finder) add(it *item, h keyHash) {
	p, at, mark := f.place(h)
	if 8*(p.taken+1) > 7*len(p.marks) {
		f.grow(p)
	}
	p.put(it, at, mark)
	f.count++
}

func (p *finderPart) put(it *item, at uint64, mark uint8) {
	last := uint64(len(p.marks) - 1)
	for p.marks[at&last] >= markFirst {
		at++
	}
	if p.marks[at&last] == markEmpty {
		p.taken++
	}
	p.marks[at&last], p.items[at&last] = mark, it
}

// grow lays a part out anew, twice as large unless many of its items have gone.
func (f *finder) grow(p *finderPart) {
	old, live := p.items, 0
	for _, it := range old {
		if it != nil {
			live++
		}
	}
	size := max(firstMarks, len(old))
	if 2*live >= size {
		size *= 2
	}
	*p = finderPart{marks: make([]uint8, size), items: make([]*item, size)}
	for _, it := range old {
		if it != nil {
			_, at, mark := f.place(hashKey(it.key))
			p.put(it, at, mark)
		}
	}
}

// remove takes out an item that is there.
func (f *finder) remove(it *item) {
	p, at, _ := f.place(hashKey(it.key))
	last := uint64(len(p.marks) - 1)
	for p.items[at&last] != it {
		at++
	}
	p.marks[at&last], p.items[at&last] = markGone, nil
	f.count--
}
