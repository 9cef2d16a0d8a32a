package store

import "sort"

// buffer collects what one flush will write. The active one is changed by the apply goroutine under the
// store's lock; the one being flushed is only read.
type buffer struct {
	records   []*record // ascending by (main, sub)
	slab      []record  // room for the next ones; its array never moves, for readers have pointers into it
	deletes   []rev     // versions dropped by compaction; they may be among records
	graves    map[string]*grave
	state     map[string][]byte // nil: removed
	origins   []origin
	conflicts []conflict
	leases    map[int64][]byte        // nil: removed
	requests  []request               // numbers ascending without a gap
	system    map[string]*SystemEntry // nil: forgotten
	tables    map[string][]byte       // by table and key; nil: removed, or until the first
	chains    map[string]*chain       // with frames to write or to delete

	bytes   int64
	touched bool // there is something to write, if only the applied index
}

// grave is one to write; none: one to remove.
type grave struct {
	geo    Geo
	origin uint16
	none   bool
}

// overhead is what a pending record costs beside its key and value, roughly.
const overhead = 256

const (
	firstSlab = 4 // records; each slab is twice as large as the one before
	lastSlab  = 64

	mostExpected = 1 << 14
)

// newBuffer makes a buffer that will hold about as many records as another one did.
func newBuffer(expected int) *buffer {
	return &buffer{records: make([]*record, 0, min(expected, mostExpected)), graves: map[string]*grave{}, state: map[string][]byte{}, leases: map[int64][]byte{}, system: map[string]*SystemEntry{}, chains: map[string]*chain{}}
}

func (b *buffer) add(v *Version, origin uint16) {
	if len(b.slab) == cap(b.slab) {
		b.slab = make([]record, 0, min(max(firstSlab, 2*cap(b.slab)), lastSlab))
	}
	b.slab = append(b.slab, record{Version: *v, origin: origin})
	b.records = append(b.records, &b.slab[len(b.slab)-1])
	b.bytes += int64(len(v.Key)+len(v.Value)) + overhead
}

func (b *buffer) bury(key []byte, g *grave) {
	b.graves[string(key)] = g
	b.bytes += int64(len(key)) + overhead
}

// first is the lowest revision in the buffer.
func (b *buffer) first() (int64, bool) {
	if b == nil || len(b.records) == 0 {
		return 0, false
	}
	return b.records[0].Mod, true
}

// find returns the record at a revision, nil when the buffer does not hold it.
func (b *buffer) find(main int64, sub uint32) *record {
	if first, ok := b.first(); !ok || main < first {
		return nil
	}
	i := b.search(main, sub)
	if i < len(b.records) && b.records[i].Mod == main && b.records[i].Sub == int64(sub) {
		return b.records[i]
	}
	return nil
}

// search is the index of the first record at or behind a revision.
func (b *buffer) search(main int64, sub uint32) int {
	return sort.Search(len(b.records), func(i int) bool {
		r := b.records[i]
		return r.Mod > main || (r.Mod == main && r.Sub >= int64(sub))
	})
}

// pendingLocked returns a record that is not known to be on disk.
func (s *Store) pendingLocked(main int64, sub uint32) *record {
	if r := s.active.find(main, sub); r != nil {
		return r
	}
	if s.flushing != nil {
		return s.flushing.find(main, sub)
	}
	return nil
}
