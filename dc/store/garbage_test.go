package store

import (
	"math/rand/v2"
	"testing"
)

// TestGarbageComesInOrder fills and empties the queue in turns, and takes what is due as a plain list would give it.
func TestGarbageComesInOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	type entry struct {
		revision  int64
		tombstone bool
		item      *item
	}
	var g garbage
	var want []entry
	revision, compacted := int64(1), int64(0)
	for range 2000 {
		for range r.IntN(100) {
			e := entry{revision: revision, tombstone: r.IntN(5) == 0, item: &item{create: revision}}
			want = append(want, e)
			if e.tombstone {
				g.addTombstone(e.revision, e.item)
			} else {
				g.add(e.revision, e.item)
			}
			revision += r.Int64N(2) // several of one transaction
		}
		compacted += r.Int64N(50 + max(0, revision-compacted))
		compacted = min(compacted, revision-1)
		gone := map[*item]bool{}
		for it, ok := g.next(compacted); ok; it, ok = g.next(compacted) {
			gone[it] = true
		}
		kept := want[:0]
		for _, e := range want {
			due := e.revision < compacted || e.revision == compacted && !e.tombstone
			if due != gone[e.item] {
				t.Fatalf("revision %d, tombstone %t, compacted at %d: taken %t", e.revision, e.tombstone, compacted, gone[e.item])
			}
			if !due {
				kept = append(kept, e)
			}
		}
		want = kept
		if g.len() != len(want) || g.due(compacted) {
			t.Fatalf("%d are left, want %d; more are due: %t", g.len(), len(want), g.due(compacted))
		}
		i, held := 0, len(g.held)
		g.queue.each(func(d *doomed) {
			if e := want[held+i]; d.item != e.item || d.revision() != e.revision || d.tombstone() != e.tombstone {
				t.Fatalf("entry %d is of revision %d, want %d", i, d.revision(), e.revision)
			}
			i++
		})
	}
}
