package store_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
)

func snapshotOf(t testing.TB, s *store.Store) (store.Applied, []byte) {
	t.Helper()
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	at, size, rc, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(rc)
	if err != nil || int64(len(b)) != size {
		t.Fatalf("snapshot of %d bytes, %d said (%v)", len(b), size, err)
	}
	if err := rc.Close(); err != nil {
		t.Error(err)
	}
	return at, b
}

// A replica that lags is given the leader's state: its watchers go on without a gap where the history
// allows, and are told where it does not.
func TestRestoreContinuesWatches(t *testing.T) {
	leader, lagging := newScript(t), newScript(t)
	history := []string{"a=1", "b=1", "a=2", "b=2", "-a"} // revisions 2 to 6
	leader.entry(history...)
	lagging.entry(history[:2]...)
	synced := lagging.s.Watch(store.WatchOptions{Key: []byte{0}, End: []byte{0}, PrevKV: true})
	future := lagging.s.Watch(store.WatchOptions{Key: []byte("b"), Start: 5})
	farFuture := lagging.s.Watch(store.WatchOptions{Key: []byte("c"), Start: 8})
	old := lagging.s.Watch(store.WatchOptions{Key: []byte("a"), End: []byte("c"), Start: 2})
	defer synced.Close()
	defer future.Close()
	defer farFuture.Close()
	defer old.Close()

	leader.entry("compact:3")
	at, b := snapshotOf(t, leader.s)
	at.Conf = []byte("members")
	if err := lagging.s.Restore(at, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	if got := lagging.s.Durable(); got.Index != at.Index || string(got.Conf) != "members" {
		t.Errorf("durable at %+v", got)
	}
	if lagging.s.Digest() != leader.s.Digest() || lagging.s.Revision() != 6 || lagging.s.Compacted() != 3 {
		t.Errorf("digest %x, revision %d, compacted %d", lagging.s.Digest(), lagging.s.Revision(), lagging.s.Compacted())
	}
	expectNext(t, synced, "a@4(was 1) b@5(was 1) -a@6(was 2) :6")
	expectNext(t, future, "b@5 :6")
	var gone store.ErrCompactedAt
	if _, err := old.Next(testContext(t)); !errors.As(err, &gone) || gone.Revision != 3 {
		t.Errorf("watch of history that is gone: %v", err)
	}
	lagging.index = at.Index
	lagging.entry("c=1", "c=2")
	expectNext(t, farFuture, "c@8 :8")
	expectNext(t, synced, "c@7 c@8(was 1) :8")
	lagging.flush()
}

func TestRestoreRefusesWhatIsNotTheSnapshot(t *testing.T) {
	leader := newScript(t)
	leader.entry("a=1", "a=2")
	at, b := snapshotOf(t, leader.s)
	for name, c := range map[string]struct {
		at   store.Applied
		data []byte
	}{
		"another index": {store.Applied{Index: at.Index + 1, Term: at.Term}, b},
		"cut short":     {at, b[:len(b)/2]},
		"empty":         {at, nil},
		"not one":       {at, bytes.Repeat([]byte("snapshot"), 4096)},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			cfg := store.Config{Path: filepath.Join(t.TempDir(), "db"), NoSync: true}
			x := &script{t: t, s: storetest.Open(t, cfg)}
			x.entry("b=1")
			if err := x.s.Restore(c.at, bytes.NewReader(c.data)); err == nil {
				t.Fatal("was restored")
			}
			x.entry("b=2")
			x.flush()
			if got := x.at(0); got != "b=2/2.3.2" {
				t.Errorf("data %q", got)
			}
			files, err := os.ReadDir(filepath.Dir(cfg.Path))
			if err != nil || len(files) != 1 {
				t.Errorf("files left: %v, %v", files, err)
			}
		})
	}
}

// A snapshot that is being sent ends with an error when its store is closed or replaced: it would otherwise
// keep that waiting.
func TestOpenSnapshotDoesNotKeepTheStoreOpen(t *testing.T) {
	x := newScript(t)
	x.entry("a=1")
	at, b := snapshotOf(t, x.s)
	open := func() io.ReadCloser {
		_, _, rc, err := x.s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rc.Read(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		return rc
	}
	replaced := open()
	if err := x.s.Restore(at, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	closed := open()
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, rc := range []io.ReadCloser{replaced, closed} {
		if _, err := io.ReadAll(rc); err == nil {
			t.Error("the rest of the snapshot could be read")
		}
		if err := rc.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, _, _, err := x.s.Snapshot(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("snapshot of a closed store: %v", err)
	}
}
