package store

import "testing"

func TestAnArenaHasOneOwner(t *testing.T) {
	var p arenas
	a := p.take(100)
	if b := p.take(100); a == b {
		t.Fatal("taken twice: a defragmentation may write beside the flusher")
	}
	a.b = append(a.b, "what was written"...)
	p.give(a)
	b := p.take(100)
	if a != b || len(b.b) != 0 {
		t.Errorf("arena that was given back is not the next one, or has %d bytes", len(b.b))
	}
	p.give(p.take(maxArena + 1))
	if c := p.take(1); cap(c.b) > maxArena {
		t.Errorf("%d bytes are kept", cap(c.b))
	}
}

// TestPendingRecordsDoNotMove: readers have pointers to records while more are added.
func TestPendingRecordsDoNotMove(t *testing.T) {
	b := newBuffer(0)
	var seen []*record
	for i := range int64(1000) {
		b.add(&Version{Mod: i, Version: i}, 0)
		seen = append(seen, b.find(i, 0))
	}
	for i, r := range seen {
		if r != b.records[i] || r != b.find(int64(i), 0) || r.Mod != int64(i) {
			t.Fatalf("record %d is not where it was", i)
		}
	}
}
