package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
	"geogate/replication/event"
)

func table(s *store.Store) string {
	var out []string
	for _, e := range s.System("") {
		if e.Deleted {
			out = append(out, "-"+e.Name)
		} else {
			out = append(out, fmt.Sprintf("%s=%s", e.Name, e.Value))
		}
	}
	return strings.Join(out, " ")
}

// The system table takes revisions and adds to the digest; ranges, counts and watches do not see it.
func TestSystemTable(t *testing.T) {
	x := newScript(t)
	x.entry("k=1")
	w := x.s.Watch(store.WatchOptions{Key: []byte{0}, End: []byte{0}})
	defer w.Close()
	before := x.s.Digest()
	x.entry("$a/x=1 $a/y=2", "$b/z=3")
	if r := x.s.Revision(); r != 4 {
		t.Errorf("two transactions lead to revision %d, want 4", r)
	}
	if x.s.Digest() == before {
		t.Error("the digest does not see the system table")
	}
	if got := x.at(0); got != "k=1/2.2.1" {
		t.Errorf("a range sees %q", got)
	}
	if x.s.Keys() != 1 {
		t.Errorf("%d keys", x.s.Keys())
	}
	if rev, synced := w.Progress(); !synced || rev != 4 {
		t.Errorf("a watch is at %d, synced: %t", rev, synced)
	}
	x.flush()
	x.entry("$-a/x", "$a/y=4", "$!unknown")
	if got := table(x.s); got != "-a/x a/y=4 b/z=3 -unknown" {
		t.Errorf("table is %q", got)
	}
	x.entry("k=2")
	got, err := w.Next(testContext(t))
	if err != nil || len(got.Events) != 1 || got.Events[0].Kv.ModRevision != 7 {
		t.Errorf("the watch has %v, %v", got, err)
	}
	late := x.s.Watch(store.WatchOptions{Key: []byte("k"), Start: 3})
	defer late.Close()
	if got, err := late.Next(testContext(t)); err != nil || len(got.Events) != 1 {
		t.Errorf("a watch from a revision without a key has %v, %v", got, err)
	}
	x.entry("compact:6")
	if entries, bytes := x.s.SystemEntries(); entries != 2 || bytes != 8 {
		t.Errorf("%d entries, %d bytes", entries, bytes)
	}
}

func TestSystemTableSurvivesRestartAndRestore(t *testing.T) {
	cfg := store.Config{Path: filepath.Join(t.TempDir(), "db"), NoSync: true}
	s, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	x := &script{t: t, s: s}
	x.entry("k=1 $a=1 $b=2", "$-a", "$c=")
	want, digest := table(s), s.Digest()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = storetest.Open(t, cfg)
	if got := table(s); got != want || s.Digest() != digest {
		t.Errorf("opened again: %q, digest %x, want %q, %x", got, s.Digest(), want, digest)
	}
	at, snap := snapshotOf(t, s)
	other := newScript(t)
	other.entry("$x=1")
	if err := other.s.Restore(at, bytes.NewReader(snap)); err != nil {
		t.Fatal(err)
	}
	if got := table(other.s); got != want || other.s.Digest() != digest {
		t.Errorf("restored: %q, want %q", got, want)
	}
	other.index = at.Index
	other.stamp = 100
	other.entry("$b=9")
	if got := table(other.s); got != "-a b=9 c=" {
		t.Errorf("after a write: %q", got)
	}
}

func TestSystemGravesGo(t *testing.T) {
	x := newScript(t)
	x.entry("$a=1", "$b=1", "k=1") // revisions 2, 3, 4
	x.entry("$-a", "$-b", "-k")    // 5, 6, 7
	x.flush()
	drop := func(upTo int64, most int) string {
		b, err := x.s.Begin()
		if err != nil {
			t.Fatal(err)
		}
		b.DropGraves(event.Vector{"here": upTo}, most)
		x.index++
		b.Commit(store.Applied{Index: x.index, Term: 1})
		return table(x.s)
	}
	for _, step := range []struct {
		upTo int64
		most int
		want string
	}{{4, 10, "-a -b"}, {5, 10, "-b"}, {9, 1, "-b"}, {9, 10, ""}} { // the grave of the key goes first
		if got := drop(step.upTo, step.most); got != step.want {
			t.Errorf("graves up to %d, %d at most: left %q, want %q", step.upTo, step.most, got, step.want)
		}
	}
}

func TestSystemTableIsExportedInPages(t *testing.T) {
	x := newScript(t)
	for i := range 20 {
		x.entry(fmt.Sprintf("$n%02d=value", i))
	}
	x.entry("$-n07")
	var names []string
	pages := 0
	for after, done := "", false; !done; pages++ {
		page, err := x.s.ExportSystem(after, 300)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			names = append(names, e.Name)
			if e.Deleted != (e.Name == "n07") {
				t.Errorf("%s is deleted: %t", e.Name, e.Deleted)
			}
		}
		after, done = page.Last, page.Done
	}
	if len(names) != 20 || pages < 4 {
		t.Errorf("%d entries in %d pages: %v", len(names), pages, names)
	}
}

// A build from before the table must not open a file that has it: it would serve without its users.
func TestSystemTableChangesTheFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	format := func() uint64 {
		db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		var n uint64
		err = db.View(func(tx *bolt.Tx) error {
			n = binary.BigEndian.Uint64(tx.Bucket([]byte("meta")).Get([]byte("format")))
			return nil
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, step := range []struct {
		entry string
		want  uint64
	}{{"k=1", 2}, {"$a=1", 3}, {"k=2", 3}} {
		s, err := store.Open(store.Config{Path: path, NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		x := &script{t: t, s: s, stamp: event.Stamp(s.Revision()), index: s.Applied().Index}
		x.entry(step.entry)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := format(); got != step.want {
			t.Errorf("after %s the format is %d, want %d", step.entry, got, step.want)
		}
	}
}

func TestDamagedSystemTableIsRefused(t *testing.T) {
	for name, change := range map[string]func(b *bolt.Bucket) error{
		"flipped bit": func(b *bolt.Bucket) error {
			v := bytes.Clone(b.Get([]byte("a")))
			v[len(v)-1] ^= 1
			return b.Put([]byte("a"), v)
		},
		"missing":  func(b *bolt.Bucket) error { return b.Delete([]byte("a")) },
		"exchange": func(b *bolt.Bucket) error { return b.Put([]byte("a"), b.Get([]byte("b"))) },
	} {
		path := filepath.Join(t.TempDir(), "db")
		s, err := store.Open(store.Config{Path: path, NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		x := &script{t: t, s: s}
		x.entry("$a=1 $b=2")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bolt.Tx) error { return change(tx.Bucket([]byte("system"))) })
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Open(store.Config{Path: path, NoSync: true}); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
