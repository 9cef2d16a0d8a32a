package store_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
)

// unpackFormat1 writes the file of a store that a build of format 1 made: a=1, b deleted, c=3, a grave, five frames,
// two conflicts and a request.
func unpackFormat1(t testing.TB) (path string) {
	t.Helper()
	packed, err := os.Open(filepath.Join("testdata", "format1.db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A file of format 1 is read and goes on as format 2; its frames and conflicts stay as they are beside new ones.
func TestFormat1IsReadAndContinued(t *testing.T) {
	cfg := store.Config{Path: unpackFormat1(t), NoSync: true}
	s, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(s *store.Store, frames, conflicts string) {
		t.Helper()
		x := &script{t: t, s: s}
		if got := x.at(0); got != "a=1/2.2.1 c=3/4.4.1" {
			t.Errorf("data %q", got)
		}
		x.expectFrames(0, 1<<20, frames)
		got, _ := s.Conflicts(10)
		if fmt.Sprintf("%s", got) != conflicts {
			t.Errorf("conflicts %s, want %s", got, conflicts)
		}
		if string(s.Meta("m")) != "v" || s.Requests() != 1 {
			t.Errorf("state %q, %d requests", s.Meta("m"), s.Requests())
		}
		if err := s.Scrub(t.Context()); err != nil {
			t.Error(err)
		}
	}
	const frames, conflicts = "1-2 3-4 5-6 7-8 9-10 ", `[{"second":2} {"first":1}]`
	expect(s, frames, conflicts)
	x := &script{t: t, s: s, index: s.Applied().Index}
	more := chainOf(t, "o", 1, 7)
	x.chain(func(b *store.Batch) {
		b.AppendFrame(more[5])
		b.Conflict([]byte("third"))
	})
	x.flush()
	expect(s, frames+"11-12 ", "[third "+conflicts[1:])
	x.chain(func(b *store.Batch) { b.AppendFrame(more[6]) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	expect(storetest.Open(t, cfg), frames+"11-12 13-14 ", "[third "+conflicts[1:])
}
