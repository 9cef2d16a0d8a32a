package store_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
	"geogate/replication/event"
)

// Keys and names may be longer than what bbolt takes as a key: their graves and entries are kept all the same, over
// flushes and restarts, and the two on either side of the limit, or with the same beginning, don't meet.
func TestKeysLongerThanTheDatabaseTakes(t *testing.T) {
	cfg := store.Config{Path: filepath.Join(t.TempDir(), "db"), NoSync: true}
	s, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	x := &script{t: t, s: s}
	var puts, deletes []string
	for _, n := range []int{bolt.MaxKeySize - 1, bolt.MaxKeySize, bolt.MaxKeySize + 1, 1 << 20} {
		for _, end := range []string{"x", "y"} {
			key := strings.Repeat("k", n-1) + end
			puts = append(puts, key+"=1", "$"+key+"=1", "$kept"+key+"=2")
			deletes = append(deletes, "-"+key, "$-"+key)
		}
	}
	x.entry(strings.Join(puts, " "))
	x.flush()
	x.entry(strings.Join(deletes, " "))
	x.entry("!" + strings.Repeat("never", 10_000))
	x.flush()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	digest, system := s.Digest(), table(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	x.s = storetest.Open(t, cfg)
	if x.s.Digest() != digest || table(x.s) != system || x.s.Keys() != 0 {
		t.Errorf("opened again: digest %x, want %x, %d keys", x.s.Digest(), digest, x.s.Keys())
	}
	if err := x.s.Scrub(testContext(t)); err != nil {
		t.Error(err)
	}
	b, err := x.s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	b.DropGraves(event.Vector{"here": 1 << 40}, 1<<20)
	x.index++
	b.Commit(store.Applied{Index: x.index, Term: 1})
	x.flush()
	if got := strings.Count(table(x.s), "-k"); got != 0 {
		t.Errorf("%d graves are left", got)
	}
}

// A long key whose record lies at another one's place is damage.
func TestLongKeyAtAnothersPlace(t *testing.T) {
	x := newScript(t)
	key := strings.Repeat("k", bolt.MaxKeySize)
	x.entry(key + "=1")
	x.entry("-" + key)
	x.flush()
	path := x.path()
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("graves"))
		k, v := b.Cursor().First()
		moved := append([]byte(nil), k...)
		moved[0]++
		return errors.Join(b.Put(moved, append([]byte(nil), v...)), b.Delete(k))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(store.Config{Path: path, NoSync: true}); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("opened with %v", err)
	}
}
