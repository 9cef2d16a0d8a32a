package storetest

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"geogate/dc/store"
)

// New opens an empty store in a directory of the test. At cleanup it must pass [Verify]. Options change the
// configuration, which does not sync the disk.
func New(t testing.TB, options ...func(*store.Config)) *store.Store {
	t.Helper()
	cfg := store.Config{Path: filepath.Join(t.TempDir(), "db"), NoSync: true}
	for _, o := range options {
		o(&cfg)
	}
	return Open(t, cfg)
}

// Open opens a store, which at cleanup must pass [Verify].
func Open(t testing.TB, cfg store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(cfg)
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	t.Cleanup(func() { Verify(t, s, cfg) })
	return s
}

// Verify checks the store's invariants, closes it and opens the file again: memory, disk and what was
// pending must agree before, and the file must give the same state after. A store that the test has closed,
// killed or broken is only closed.
func Verify(t testing.TB, s *store.Store, cfg store.Config) {
	t.Helper()
	ok := check(t, s)
	want := stateOf(s)
	if err := s.Close(); err != nil {
		t.Errorf("close store: %v", err)
	}
	if !ok || s.Durable().Index != s.Applied().Index {
		return
	}
	cfg.Registerer = nil
	again, err := store.Open(cfg)
	if err != nil {
		t.Errorf("open store again: %v", err)
		return
	}
	check(t, again)
	if got := stateOf(again); got != want {
		t.Errorf("opened again the store has %+v, it had %+v", got, want)
	}
	if err := again.Close(); err != nil {
		t.Errorf("close store: %v", err)
	}
}

// Run runs the store's flusher until the test ends.
func Run(t testing.TB, s *store.Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run store: %v", err)
		}
	})
}

type state struct {
	revision, compacted int64
	index               uint64
	digest              uint64
	keys                int
	requests            int
	system              int
}

func stateOf(s *store.Store) state {
	system, _ := s.SystemEntries()
	return state{system: system, revision: s.Revision(), compacted: s.Compacted(), index: s.Applied().Index, digest: s.Digest(), keys: s.Keys(), requests: s.Requests()}
}

func check(t testing.TB, s *store.Store) bool {
	t.Helper()
	err := s.Check()
	if errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrBroken) {
		return false
	}
	if err != nil {
		t.Errorf("store is not sound: %v", err)
	}
	sum, err := s.ScanDigest()
	if err != nil {
		t.Errorf("scan: %v", err)
	}
	if sum != s.Digest() {
		t.Errorf("digest is %016x, the data has %016x", s.Digest(), sum)
	}
	return true
}

// Plant gives a key of a store that nobody has open other contents under the same origin, revision and stamp,
// as a hand or a rotten disk would. A nil value removes the key without a trace.
func Plant(t testing.TB, path string, key, value []byte) {
	t.Helper()
	s, err := store.Open(store.Config{Path: path})
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	b, err := s.Begin()
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	h, known := b.Head(key)
	if !known {
		t.Fatalf("the store knows nothing of %q", key)
	}
	b.NextTxn()
	if value != nil {
		b.Put(key, value, h.Lease, h.Geo)
	} else {
		b.Delete(key, h.Geo)
		b.DropGraves(map[string]int64{h.Geo.Origin: h.Geo.OriginRevision}, 1<<30)
	}
	b.Commit(s.Applied())
	if err := s.Close(); err != nil {
		t.Fatalf("close store: %v", err)
	}
}
