package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
)

func (x *script) hash(revision int64) store.Hash {
	x.t.Helper()
	h, err := x.s.Hash(testContext(x.t), revision)
	if err != nil {
		x.t.Fatalf("hash at %d: %v", revision, err)
	}
	return h
}

// Two stores that applied the same log have equal hashes at every revision, whatever each of them has flushed
// or deleted by then.
func TestHashIsOfTheLogAndNotOfTheFile(t *testing.T) {
	lazy, eager := newScript(t), newScript(t)
	for i := range 60 {
		for _, x := range []*script{lazy, eager} {
			x.entry(fmt.Sprintf("k%d=%d", i%7, i), fmt.Sprintf("p%d=x q=%d@3", i, i))
			if i%5 == 4 {
				x.entry(fmt.Sprintf("-k%d", i%7))
			}
			if i%20 == 19 {
				x.entry(fmt.Sprintf("compact:%d", x.s.Revision()-10))
			}
		}
		eager.flush()
		eager.flush()
	}
	a, b := lazy.hash(0), eager.hash(0)
	if a != b || a.Revision != lazy.s.Revision() || a.Compacted != lazy.s.Compacted() {
		t.Errorf("%+v and %+v at %d, compacted %d", a, b, lazy.s.Revision(), lazy.s.Compacted())
	}
	seen := map[uint32]int64{}
	for rev := a.Compacted; rev <= a.Revision; rev++ {
		a, b := lazy.hash(rev), eager.hash(rev)
		if a != b {
			t.Errorf("at %d: %+v and %+v", rev, a, b)
		}
		if at, ok := seen[a.Sum]; ok {
			t.Errorf("revisions %d and %d have the same hash", at, rev)
		}
		seen[a.Sum] = rev
	}
	for rev, want := range map[int64]error{a.Compacted - 1: store.ErrCompacted, a.Revision + 1: store.ErrFutureRev} {
		if _, err := lazy.s.Hash(t.Context(), rev); !errors.Is(err, want) {
			t.Errorf("at %d: %v, want %v", rev, err, want)
		}
	}
}

// Each part of a version counts.
func TestHashSeesEveryDifference(t *testing.T) {
	sums := map[uint32]string{}
	for _, history := range []string{
		"a=1", "a=2", "b=1", "a=1@5", "a=1 b=1", "a=1|b=1", "b=1|a=1", "a=1|a=1", "a=1|-a", "a=1|-a|a=1", "ab=c", "a=bc",
	} {
		x := newScript(t)
		for _, line := range strings.Split(history, "|") {
			x.entry(line)
		}
		h := x.hash(0)
		if other, ok := sums[h.Sum]; ok {
			t.Errorf("%q and %q have the same hash", history, other)
		}
		sums[h.Sum] = history
	}
}

// Hashing at a fixed revision goes on under writes and gives the same; a compaction in between makes it begin anew.
func TestHashUnderWrites(t *testing.T) {
	x := newScript(t, func(c *store.Config) { c.FlushInterval = 1e6 })
	for i := range 50 {
		var line strings.Builder
		for j := range 400 {
			fmt.Fprintf(&line, "k%d/%d=%d ", i, j, i)
		}
		x.entry(line.String())
	}
	storetest.Run(t, x.s)
	at := x.s.Revision()
	want := x.hash(at)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			x.entry(fmt.Sprintf("k%d/%d=new z%d=1", i%50, i%400, i))
		}
	})
	for range 10 {
		if got, err := x.s.Hash(t.Context(), at); err != nil || got.Sum != want.Sum {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	stop()
	wg.Wait()
	if _, err := x.s.Hash(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("after the caller left: %v", err)
	}
}
