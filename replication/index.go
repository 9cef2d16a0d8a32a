package replication

import (
	"slices"

	"geogate/replication/event"
)

// index maps places in the chain to sequences of the stream. It is bounded: when full, it forgets every
// other entry, after which a reader may start a few frames early and skip what it has.
type index struct {
	max     int
	entries []indexEntry // ascending by revision, and no sequence is below the one before
}

// indexEntry is a frame in the stream.
type indexEntry struct {
	prev, last int64
	hash       event.Hash // of the frame
	seq        uint64     // of the first message that is needed to read it: its own, or that of the run that it is in
	end        uint64     // of its last message
	run        bool       // those behind it may be in the run, too
}

func (x *index) add(e indexEntry) {
	if len(x.entries) >= x.max {
		kept := x.entries[:0]
		for i, old := range x.entries {
			if i%2 == 0 || i == len(x.entries)-1 {
				kept = append(kept, old)
			}
		}
		x.entries = kept
	}
	x.entries = append(x.entries, e)
}

// startOf is the newest entry from which a reader at revision can start: the frames behind revision begin
// there or later.
func (x *index) startOf(revision int64) (indexEntry, bool) {
	i, found := slices.BinarySearchFunc(x.entries, revision, func(e indexEntry, r int64) int {
		switch {
		case e.prev < r:
			return -1
		case e.prev > r:
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	if i < 0 {
		return indexEntry{}, false
	}
	return x.entries[i], true
}

// from is the first entry whose messages are all at or behind a sequence.
func (x *index) from(seq uint64) (indexEntry, bool) {
	for _, e := range x.entries {
		if e.seq >= seq {
			return e, true
		}
	}
	return indexEntry{}, false
}

// halfway is the entry in the middle of those whose messages are all at or behind a sequence.
func (x *index) halfway(seq uint64) (indexEntry, bool) {
	i := slices.IndexFunc(x.entries, func(e indexEntry) bool { return e.seq >= seq })
	if i < 0 {
		return indexEntry{}, false
	}
	return x.entries[(i+len(x.entries))/2], true
}

func (x *index) newest() (indexEntry, bool) {
	if len(x.entries) == 0 {
		return indexEntry{}, false
	}
	return x.entries[len(x.entries)-1], true
}

// hashOf is the hash of the frame that ends at a revision, if it is remembered.
func (x *index) hashOf(revision int64) (event.Hash, bool) {
	i, found := slices.BinarySearchFunc(x.entries, revision, func(e indexEntry, r int64) int {
		switch {
		case e.last < r:
			return -1
		case e.last > r:
			return 1
		}
		return 0
	})
	if !found {
		return event.Hash{}, false
	}
	return x.entries[i].hash, true
}
