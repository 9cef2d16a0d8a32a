package store_test

import (
	"fmt"
	"strings"
	"testing"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
)

// remember commits an entry that remembers ids; each record is "of" its id and the number of the call.
func (x *script) remember(keep int, ids ...string) {
	x.t.Helper()
	b, err := x.s.Begin()
	if err != nil {
		x.t.Fatal(err)
	}
	for _, id := range ids {
		b.Remember([]byte(id), fmt.Appendf(nil, "of %s", id), keep)
	}
	x.index++
	b.Commit(store.Applied{Index: x.index, Term: 1})
}

// known lists which of the ids a store remembers, with their records.
func known(t *testing.T, s *store.Store, ids string) string {
	t.Helper()
	b, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Commit(s.Applied())
	var out []string
	for id := range strings.FieldsSeq(ids) {
		record, err := b.Request([]byte(id))
		if err != nil {
			t.Error(err)
		}
		if record == nil {
			continue
		}
		if string(record) != "of "+id {
			t.Errorf("under %s lies %q", id, record)
		}
		out = append(out, id)
	}
	return strings.Join(out, " ")
}

func TestRequestsAreKeptUpToTheBound(t *testing.T) {
	cfg := store.Config{Path: t.TempDir() + "/db", NoSync: true}
	x := &script{t: t, s: storetest.Open(t, cfg)}
	const all = "a b c d e f g"
	expect := func(s *store.Store, want string) {
		t.Helper()
		if got := known(t, s, all); got != want || s.Requests() != len(strings.Fields(want)) {
			t.Errorf("known are %s (%d), want %s", got, s.Requests(), want)
		}
		if err := s.Check(); err != nil {
			t.Error(err)
		}
	}
	expect(x.s, "")
	x.flush() // a file without the bucket
	x.remember(3, "a", "b")
	expect(x.s, "a b")
	x.flush()
	expect(x.s, "a b")
	x.remember(3, "c", "d") // a is forgotten, and still on disk
	expect(x.s, "b c d")
	x.remember(3, "a", "e", "f", "g") // a comes back and is forgotten before it was ever flushed
	expect(x.s, "e f g")
	x.flush()
	expect(x.s, "e f g")
	x.remember(2, "b") // a lower bound
	expect(x.s, "b g")

	// A snapshot has what was flushed; so has a file that is opened after a crash.
	x.s.Kill()
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	again := storetest.Open(t, cfg)
	expect(again, "e f g")
	at, _, rc, err := again.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	other := newScript(t)
	other.remember(3, "x", "y")
	other.flush()
	if err := other.s.Restore(at, rc); err != nil {
		t.Fatal(err)
	}
	if err := rc.Close(); err != nil {
		t.Fatal(err)
	}
	expect(other.s, "e f g")
	if got := known(t, other.s, "x y"); got != "" {
		t.Errorf("%s outlived the restore", got)
	}
}

// A bound that was lowered by much takes several flushes to reach the disk; a file in between gives the same.
func TestLoweredBoundOfRequests(t *testing.T) {
	cfg := store.Config{Path: t.TempDir() + "/db", NoSync: true}
	x := &script{t: t, s: storetest.Open(t, cfg)}
	var ids []string
	for i := range 2000 {
		ids = append(ids, fmt.Sprint("id", i))
	}
	x.remember(5000, ids...)
	x.flush()
	x.remember(2, "last")
	x.flush()
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	again := storetest.Open(t, cfg)
	if got := known(t, again, "id1 id1998 id1999 last"); got != "id1999 last" || again.Requests() != 2 {
		t.Errorf("known are %s, %d in all", got, again.Requests())
	}
}
