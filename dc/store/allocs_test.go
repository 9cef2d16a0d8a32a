package store_test

import (
	"path/filepath"
	"testing"

	"geogate/dc/store"
	"geogate/test/allocs"
)

const allocsKeys = 1000

// TestAllocationsOfABatch puts 64 keys that exist in each batch.
func TestAllocationsOfABatch(t *testing.T) {
	s := openBench(t, filepath.Join(t.TempDir(), "db"))
	defer closeBench(t, s)
	fill(t, s, allocsKeys, 64)
	value, i := make([]byte, 256), allocsKeys
	allocs.AtMost(t, "a batch of 64 puts", 225, func() {
		batch, err := s.Begin()
		if err != nil {
			t.Fatal(err)
		}
		for range 64 {
			batch.NextTxn()
			batch.Put(benchKey(i%allocsKeys), value, 0, benchGeo(batch.Revision()+1))
			i++
		}
		batch.Commit(store.Applied{Index: uint64(i)})
	})
}

// TestAllocationsOfARange reads one key that is on disk.
func TestAllocationsOfARange(t *testing.T) {
	s := openBench(t, filepath.Join(t.TempDir(), "db"))
	defer closeBench(t, s)
	fill(t, s, allocsKeys, 64)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	o := store.RangeOptions{Key: benchKey(7)}
	allocs.AtMost(t, "a range of one key", 18, func() {
		if r, err := s.Range(o); err != nil || r.Count != 1 {
			t.Fatalf("range: %+v, %v", r, err)
		}
	})
}
