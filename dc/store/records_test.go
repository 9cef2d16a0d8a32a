package store_test

import (
	"fmt"
	"testing"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
)

// batch commits what fn does as one entry of the log.
func batch(t testing.TB, s *store.Store, fn func(b *store.Batch)) {
	t.Helper()
	b, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	fn(b)
	b.Commit(store.Applied{Index: s.Applied().Index + 1, Term: 1})
}

func recordsOf(s *store.Store, table store.Table, from string) string {
	out := ""
	s.EachRecord(table, from, func(key string, value []byte) bool {
		out += fmt.Sprintf("%s=%s ", key, value)
		return true
	})
	return out
}

func TestRecordsSurvive(t *testing.T) {
	cfg := store.Config{Path: t.TempDir() + "/db", NoSync: true}
	s, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	batch(t, s, func(b *store.Batch) {
		for _, k := range []string{"b", "a", "c"} {
			b.SetRecord('x', k, []byte("1"+k))
		}
		b.SetRecord('w', "z", []byte("w"))
		b.SetRecord('y', "a", []byte("y"))
	})
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	batch(t, s, func(b *store.Batch) {
		b.SetRecord('x', "b", nil)
		b.SetRecord('x', "never", nil)
		b.SetRecord('x', "c", []byte("2c"))
		if got := string(b.Record('x', "c")); got != "2c" || b.Record('x', "b") != nil {
			t.Errorf("in the batch c is %q", got)
		}
	})
	const want = "a=1a c=2c "
	if got := recordsOf(s, 'x', ""); got != want {
		t.Errorf("records %q", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = storetest.Open(t, cfg)
	if got := recordsOf(s, 'x', ""); got != want {
		t.Errorf("after a restart records %q", got)
	}
	if got := recordsOf(s, 'x', "b"); got != "c=2c " {
		t.Errorf("behind b: %q", got)
	}
	if err := s.Scrub(t.Context()); err != nil {
		t.Error(err)
	}
}

// What was replaced behind the revision that is kept stays readable for the owner, although readers and the
// others see a compacted history.
func TestHistoryIsKeptOverCompaction(t *testing.T) {
	s := storetest.New(t)
	put := func(b *store.Batch, key string, n int64) {
		b.NextTxn()
		b.Put([]byte(key), fmt.Appendf(nil, "%d", n), 0, store.Geo{Origin: "o", OriginRevision: n})
	}
	history := func() (out string) {
		batch(t, s, func(b *store.Batch) {
			err := b.History([]byte("k"), func(v *store.Version) bool {
				out += string(v.Value) + " "
				return true
			})
			if err != nil {
				t.Error(err)
			}
		})
		return out
	}
	batch(t, s, func(b *store.Batch) {
		for n := int64(2); n <= 5; n++ {
			put(b, "k", n)
		}
		b.KeepHistory(3)
		if err := b.Compact(5); err != nil {
			t.Error(err)
		}
	})
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := history(); got != "5 4 3 " {
		t.Errorf("kept %q", got)
	}
	batch(t, s, func(b *store.Batch) { b.KeepHistory(0) })
	for range 2 {
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if got := history(); got != "5 " {
		t.Errorf("left %q", got)
	}
}

func TestGravesThatWereReplacedAreNoted(t *testing.T) {
	s := storetest.New(t)
	geo := func(n int64) store.Geo { return store.Geo{Origin: "o", OriginRevision: n, Stamp: 100} }
	batch(t, s, func(b *store.Batch) {
		b.Put([]byte("k"), nil, 0, geo(2))
		b.NextTxn()
		b.Delete([]byte("k"), store.Geo{Origin: "p", OriginRevision: 7, Stamp: 9})
		b.NextTxn()
		b.KeepGraves(true)
		b.Put([]byte("k"), nil, 0, geo(4))
		b.NextTxn()
		b.Delete([]byte("k"), geo(5))
		b.NextTxn()
		b.Put([]byte("k"), nil, 0, geo(6))
	})
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	batch(t, s, func(b *store.Batch) {
		for behind, want := range map[int64]int64{3: 7, 4: 5, 5: 5, 6: 0} {
			got, err := b.KeptGraves("o", behind)
			if err != nil || got["k"].OriginRevision != want {
				t.Errorf("behind %d: %+v, %v", behind, got, err)
			}
		}
		b.DropKept("o", 5)
		if got, _ := b.KeptGraves("o", 3); got["k"].OriginRevision != 5 {
			t.Errorf("left %+v", got)
		}
	})
}
