package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestFinderAgainstMap adds and removes keys, more of one than of the other for a while, and finds all that are there
// and none of the others.
func TestFinderAgainstMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var f finder
	want := map[string]*item{}
	for step := range 400_000 {
		key := fmt.Sprintf("key-%d", r.IntN(40_000))
		if got := f.get(key, hashKey(key)); got != want[key] {
			t.Fatalf("step %d: %q is %v, want %v", step, key, got, want[key])
		}
		growing := step/50_000%2 == 0
		switch it := want[key]; {
		case it == nil && (growing || r.IntN(4) == 0):
			it = &item{key: key}
			f.add(it, hashKey(it.key))
			want[key] = it
		case it != nil && (!growing || r.IntN(4) == 0):
			f.remove(it)
			delete(want, key)
		}
		if f.count != len(want) {
			t.Fatalf("step %d: %d items, want %d", step, f.count, len(want))
		}
	}
	for key, it := range want {
		if f.get(key, hashKey(key)) != it {
			t.Fatalf("%q is not found", key)
		}
	}
}

// TestFinderDoesNotGrowByChurn: keys that come and go must not make it larger than those that are there at a time.
func TestFinderDoesNotGrowByChurn(t *testing.T) {
	var f finder
	var there []*item
	for i := range 1_000_000 {
		it := &item{key: fmt.Sprint(i)}
		f.add(it, hashKey(it.key))
		if there = append(there, it); len(there) > 5000 {
			f.remove(there[0])
			there = there[1:]
		}
	}
	slots := 0
	for i := range f.parts {
		slots += len(f.parts[i].marks)
	}
	if slots > 8*5000 {
		t.Errorf("%d slots for 5000 keys", slots)
	}
}
