package store_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
	"geogate/replication/event"
)

// Random chains of three origins, interleaved: wherever records are (pending, being written, on disk), Locate finds
// each transaction, and the last revision before the next one of its origin.
func TestLocate(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	s := storetest.New(t)
	type place struct{ at, origin int64 } // local and origin revision
	chains := map[string][]place{}
	origins := []string{"a", "b", "c"}
	for i := range 120 {
		b, err := s.Begin()
		if err != nil {
			t.Fatal(err)
		}
		for range 1 + rng.IntN(3) {
			o := origins[rng.IntN(3)]
			last := int64(1)
			if c := chains[o]; len(c) > 0 {
				last = c[len(c)-1].origin
			}
			g := store.Geo{Origin: o, OriginRevision: last + 1 + rng.Int64N(3), Stamp: event.Stamp(i + 1)}
			b.NextTxn()
			for k := range 1 + rng.IntN(3) {
				b.Put([]byte(fmt.Sprint("k", k)), []byte("v"), 0, g)
			}
			chains[o] = append(chains[o], place{b.Revision(), g.OriginRevision})
		}
		b.Commit(store.Applied{Index: uint64(i + 1), Term: 1})
		if rng.IntN(20) == 0 {
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	newest := s.Revision()
	for o, chain := range chains {
		for i, p := range chain {
			wantLast := newest
			if i+1 < len(chain) {
				wantLast = chain[i+1].at - 1
			}
			if at, last, err := s.Locate(o, p.origin, 0); err != nil || at != p.at || last != wantLast {
				t.Fatalf("%s:%d is at %d up to %d: got %d, %d, %v", o, p.origin, p.at, wantLast, at, last, err)
			}
			if at, last, err := s.Locate(o, p.origin, p.at); err != nil || at != 0 || last != wantLast {
				t.Fatalf("%s:%d is at %d, searched behind it: got %d, %d, %v", o, p.origin, p.at, at, last, err)
			}
			if i+1 < len(chain) && chain[i+1].origin > p.origin+1 { // no transaction: it changed nothing here
				if at, last, err := s.Locate(o, p.origin+1, 0); err != nil || at != 0 || last != wantLast {
					t.Fatalf("%s:%d is not here: got %d, %d, %v", o, p.origin+1, at, last, err)
				}
			}
		}
	}
}
