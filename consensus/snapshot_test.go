package consensus

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/etcd/raft/v3/raftpb"
	"go.etcd.io/etcd/server/v3/wal/walpb"
)

func lagging(t *testing.T, tune func(*Config)) (*group, *site, *site) {
	t.Helper()
	g := newGroup(t, 3, func(c *Config) {
		c.TruncateBytes, c.SnapshotCatchUpBytes = 32<<10, 16<<10
		if tune != nil {
			tune(c)
		}
	})
	leader := g.leader()
	s := g.follower(leader)
	g.put("first")
	g.everywhere(leader)
	return g, leader, s
}

// behind writes until the log that s would need is gone.
func (g *group) behind(s *site) {
	g.t.Helper()
	for i := range 100 {
		g.put(text(i, 2000), s)
	}
	leader := g.leader(s)
	eventually(g.t, "the log to be cut", func() bool {
		first, err := leader.node.mem.FirstIndex()
		return err == nil && first > s.node.Status().Applied+1
	})
}

func TestLaggingFollowerGetsSnapshot(t *testing.T) {
	g, _, s := lagging(t, nil)
	g.isolate(s, true)
	g.behind(s)
	g.isolate(s, false)
	g.everywhere(g.leader(s))
	if s.app.restored() == 0 {
		t.Error("caught up without a snapshot")
	}
	g.put("after")
	g.everywhere(g.leader())
	g.kill(s) // and the log that follows a snapshot can be read again
	g.start(s)
	g.put("after restart")
	g.everywhere(g.leader())
	if files, err := os.ReadDir(filepath.Join(s.dir, "snap")); err != nil || len(files) > 0 {
		t.Errorf("%d files of snapshots left: %v", len(files), err)
	}
}

func TestStoppedFollowerGetsSnapshot(t *testing.T) {
	g, _, s := lagging(t, nil)
	g.kill(s)
	g.behind(s)
	g.start(s)
	g.everywhere(g.leader(s))
	if s.app.restored() == 0 {
		t.Error("caught up without a snapshot")
	}
}

// flaky fails the first copies in one way or another.
type flaky struct {
	*app
	calls *int
}

func (f flaky) Snapshot() (Snapshot, error) {
	*f.calls++
	snap, err := f.app.Snapshot()
	switch *f.calls {
	case 1:
		return Snapshot{}, errors.New("no copy now")
	case 2:
		snap.Size += 10 // the reader ends too early
	}
	return snap, err
}

func TestFailedSnapshotIsRepeated(t *testing.T) {
	calls := 0
	g, _, s := lagging(t, func(c *Config) { c.StateMachine = flaky{c.StateMachine.(*app), &calls} })
	g.isolate(s, true)
	g.behind(s)
	g.isolate(s, false)
	g.everywhere(g.leader(s))
	if calls < 3 {
		t.Errorf("%d copies opened, want at least 3", calls)
	}
}

// A crash between taking over a received snapshot and restoring it: the next start restores it.
func TestInterruptedRestoreIsRepeated(t *testing.T) {
	g, leader, s := lagging(t, nil)
	g.kill(s)
	g.behind(s)
	snap, err := leader.app.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(snap)
	if err != nil {
		t.Fatal(err)
	}
	cfg := g.config(s)
	w, err := createSnapshot(cfg.snapDir(), snap.Index, snap.Term, snap.ConfState, snap.Size)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	file, err := w.finish(xxhash.Sum64(data))
	if err != nil {
		t.Fatal(err)
	}
	// What the loop writes when it takes the snapshot over.
	if err := g.open(s); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file.path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a file that the log does not name was kept: %v", err)
	}
	hard := raftpb.HardState{Term: snap.Term, Commit: snap.Index}
	if err := s.node.wal.SaveSnapshot(walpb.Snapshot{Index: snap.Index, Term: snap.Term, ConfState: &file.conf}); err != nil {
		t.Fatal(err)
	}
	if err := s.node.wal.Save(hard, nil); err != nil {
		t.Fatal(err)
	}
	s.node.loop.hard = hard
	if err := s.node.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.open(s); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrBehind) {
		t.Fatalf("without the file: %v, want a refusal", err)
	}
	if w, err = createSnapshot(cfg.snapDir(), snap.Index, snap.Term, snap.ConfState, snap.Size); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if file, err = w.finish(xxhash.Sum64(data)); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file.path)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(whole)
	bad[len(bad)/2] ^= 1
	overwrite(t, file.path, bad)
	if err := g.open(s); !errors.Is(err, ErrDamaged) {
		t.Fatalf("with a damaged file: %v, want ErrDamaged", err)
	}
	overwrite(t, file.path, whole)
	g.start(s)
	g.everywhere(g.leader(s))
	if s.app.restored() != 1 {
		t.Errorf("restored %d times, want 1", s.app.restored())
	}
}

func TestSnapshotWriterRefuses(t *testing.T) {
	dir := t.TempDir()
	conf, err := (&raftpb.ConfState{Voters: []uint64{1}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data     string
		checksum uint64
	}{
		"too short":      {"1234", xxhash.Sum64String("1234")},
		"too long":       {"123456", xxhash.Sum64String("123456")},
		"wrong checksum": {"12345", 1},
	} {
		w, err := createSnapshot(dir, 5, 2, conf, 5)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write([]byte(c.data))
		if err == nil {
			_, err = w.finish(c.checksum)
		}
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		w.discard()
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("%d files left", len(files))
	}
}
