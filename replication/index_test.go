package replication

import (
	"testing"

	"geogate/replication/event"
)

func entry(prev, last int64, seq uint64) indexEntry {
	return indexEntry{prev: prev, last: last, seq: seq, end: seq, hash: event.HashOf([]byte{byte(last)})}
}

func TestIndexFindsWhereToStart(t *testing.T) {
	x := index{max: 100}
	if _, ok := x.startOf(0); ok {
		t.Error("an empty index knows a start")
	}
	x.add(entry(10, 12, 1))
	x.add(entry(12, 13, 2))
	x.add(entry(13, 20, 7))
	for _, c := range []struct {
		revision int64
		seq      uint64
		ok       bool
	}{{9, 0, false}, {10, 1, true}, {11, 1, true}, {12, 2, true}, {13, 7, true}, {19, 7, true}, {20, 7, true}, {99, 7, true}} {
		if e, ok := x.startOf(c.revision); ok != c.ok || e.seq != c.seq {
			t.Errorf("behind %d: %d, %v", c.revision, e.seq, ok)
		}
	}
	if e, ok := x.from(3); !ok || e.seq != 7 {
		t.Errorf("from 3: %+v, %v", e, ok)
	}
	if _, ok := x.from(8); ok {
		t.Error("from 8 there is nothing")
	}
	if h, ok := x.hashOf(13); !ok || h != event.HashOf([]byte{13}) {
		t.Error("hash of 13")
	}
	if _, ok := x.hashOf(14); ok {
		t.Error("14 is the end of no frame")
	}
}

// TestIndexIsBounded: it gets coarser, but a start it gives is never behind the frames asked for, and the
// first and newest entry stay.
func TestIndexIsBounded(t *testing.T) {
	x := index{max: 16}
	for i := range int64(10_000) {
		x.add(entry(i, i+1, uint64(i+1)))
		if len(x.entries) > x.max {
			t.Fatalf("%d entries", len(x.entries))
		}
		if e, ok := x.newest(); !ok || e.last != i+1 {
			t.Fatalf("newest is %+v", e)
		}
		for r := int64(0); r <= i; r += 97 {
			if e, ok := x.startOf(r); !ok || e.prev > r {
				t.Fatalf("behind %d it starts at %d", r, e.prev)
			}
		}
	}
}

func TestPlan(t *testing.T) {
	g := &generation{index: index{max: 100}, begun: true, floor: 10}
	type plan struct {
		seq   uint64
		until int64
		live  bool
	}
	check := func(what string, revision int64, firstSeq uint64, want plan) {
		t.Helper()
		seq, until, live := g.plan(revision, firstSeq)
		if got := (plan{seq, until, live}); got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	check("nothing acknowledged yet", 10, 1, plan{1, 0, true})
	check("nothing acknowledged yet, ahead of the floor", 15, 1, plan{1, 0, true})
	check("nothing acknowledged yet, below the floor", 9, 1, plan{0, 10, false})
	g.index.add(entry(10, 12, 1))
	g.index.add(entry(12, 14, 2))
	g.index.add(entry(14, 16, 3))
	check("all", 10, 1, plan{1, 0, true})
	check("middle", 12, 1, plan{2, 0, true})
	check("nothing yet", 16, 1, plan{4, 0, true})
	check("ahead of what is acknowledged", 18, 1, plan{4, 0, true})
	check("below the floor", 5, 1, plan{0, 10, false})
	check("discarded", 10, 3, plan{0, 14, false})
	check("below the floor and discarded", 5, 3, plan{0, 14, false})
	check("all discarded", 12, 9, plan{0, 16, false})
	g.index.add(entry(16, 18, 4))
	g.index.add(entry(18, 20, 5))
	g.index.add(entry(20, 22, 6))
	check("discarded, with room ahead of what goes next", 10, 3, plan{0, 18, false})
	check("below the floor, with room ahead of what goes next", 5, 2, plan{0, 16, false})
	check("nothing discarded: the floor stays", 5, 1, plan{0, 10, false})
}

// TestPlanOfRuns: a reader begins where a run does; where the stream has lost that, with the next one.
func TestPlanOfRuns(t *testing.T) {
	g := &generation{index: index{max: 100}, begun: true, floor: 10}
	for i := range uint64(4) { // two runs of two frames
		e := entry(10+2*int64(i), 12+2*int64(i), i+1)
		e.run, e.seq = true, 1+i/2*2
		g.index.add(e)
	}
	for _, c := range []struct {
		what     string
		revision int64
		firstSeq uint64
		seq      uint64
		until    int64
		live     bool
		fresh    bool
	}{
		{"a beginning", 14, 1, 3, 0, true, false},
		{"the middle", 12, 1, 1, 0, true, false},
		{"the middle of a run whose beginning is gone", 12, 2, 0, 16, false, false},
		{"the end", 18, 1, 3, 0, true, false},
		{"the end of a run whose beginning is gone", 18, 4, 5, 0, true, true},
		{"the middle of the last run, whose beginning is gone", 16, 4, 0, 18, false, false},
	} {
		seq, until, live := g.plan(c.revision, c.firstSeq)
		if fresh := g.endsRun(); seq != c.seq || until != c.until || live != c.live || fresh != c.fresh || g.endsRun() {
			t.Errorf("%s: sequence %d, until %d, live %v, a new run %v", c.what, seq, until, live, fresh)
		}
	}
}

// TestReaderBehindTheRingCatchesUp: the ring discards as fast as frames come. A reader that comes back from
// behind it gets to the live frames although more frames are discarded while it reads each difference.
func TestReaderBehindTheRingCatchesUp(t *testing.T) {
	const ring, perDifference = 400, 25 // frames kept, and discarded while a difference is read
	g := &generation{index: index{max: 1 << 20}, begun: true}
	head := int64(0)
	grow := func(n int) {
		for range n {
			head++
			g.index.add(entry(head-1, head, uint64(head)))
		}
	}
	first := func() uint64 { return uint64(max(1, head-ring+1)) }
	grow(5 * ring)
	at := int64(ring)
	for range 5 {
		seq, until, live := g.plan(at, first())
		grow(perDifference) // before the reader has what it was sent for
		if live && seq >= first() {
			return
		}
		if !live {
			at = until
		}
	}
	t.Errorf("after five differences the reader is at %d, the ring begins at %d and ends at %d", at, first(), head)
}
