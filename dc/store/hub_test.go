package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// spans must find exactly the ranges that hold a key, through random additions and removals.
func TestSpansAgainstAList(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	letter := func() []byte { return []byte{byte('a' + rnd.IntN(12))} }
	var s spans
	var list []*Watcher
	for i := range 3000 {
		if rnd.IntN(2) == 0 || len(list) == 0 {
			end := letter()
			if rnd.IntN(5) == 0 {
				end = []byte{0}
			}
			w := &Watcher{span: newSpan(letter(), end)}
			list = append(list, w)
			s.add(w)
		} else {
			n := rnd.IntN(len(list))
			s.remove(list[n])
			list = append(list[:n], list[n+1:]...)
		}
		key := string(letter())
		want := map[*Watcher]bool{}
		for _, w := range list {
			if w.span.contains(key) {
				want[w] = true
			}
		}
		got := map[*Watcher]bool{}
		for _, ws := range s.stab(key, nil) {
			for w := range ws {
				got[w] = true
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("seed %d, step %d: key %s found %v, want %v", seed, i, key, got, want)
		}
	}
}

func TestItemTable(t *testing.T) {
	var table itemTable
	want := map[string]bool{}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		k := fmt.Sprintf("/some/prefix/%x", rnd.IntN(10_000))
		it := table.ensure([]byte(k))
		if it.key != k || table.ensure([]byte(k)) != it {
			t.Fatalf("%q gives %q", k, it.key)
		}
		want[k] = true
	}
	last := ""
	n := 0
	table.sorted(func(it *item) {
		if it.key <= last {
			t.Fatalf("%q behind %q", it.key, last)
		}
		last = it.key
		n++
	})
	if n != len(want) {
		t.Errorf("%d keys, want %d", n, len(want))
	}
}
