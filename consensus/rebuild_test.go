package consensus

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
)

// sound is what an app's copy must look like.
func sound(at Applied, r io.Reader) error {
	var entries []Entry
	if err := gob.NewDecoder(r).Decode(&entries); err != nil {
		return err
	}
	if last := entries[len(entries)-1]; last.Index != at.Index || last.Term != at.Term {
		return fmt.Errorf("copy at %d ends at %d", at.Index, last.Index)
	}
	return nil
}

// rebuild replaces the lost disk of a site.
func (g *group) rebuild(s *site) (Applied, error) {
	cfg := g.config(s)
	cfg.StateMachine, cfg.Batcher, cfg.SnapshotTimeout = nil, nil, time.Second
	return Rebuild(context.Background(), cfg, sound)
}

// state is the term, vote and commit index of a stopped site's log, and its last index.
func (g *group) state(s *site) (hard raftpb.HardState, last uint64) {
	g.t.Helper()
	dir := filepath.Join(s.dir, "wal")
	segments, err := listSegments(dir)
	if err != nil {
		g.t.Fatal(err)
	}
	scan, err := scanLog(dir, segments)
	if err != nil {
		g.t.Fatal(err)
	}
	return scan.state, scan.last
}

// shortLog makes logs lose their beginning, so that they alone do not give the data back.
func shortLog(c *Config) {
	c.TruncateBytes, c.SnapshotCatchUpBytes = 32<<10, 16<<10
}

func (g *group) fill(from, n int) {
	g.t.Helper()
	for i := range n {
		g.put(text(from+i, 2000))
	}
}

// trimmed waits until the log of a running site no longer begins at the founding.
func (g *group) trimmed(s *site) {
	g.t.Helper()
	eventually(g.t, "the log to be trimmed", func() bool {
		segments, err := listSegments(filepath.Join(s.dir, "wal"))
		return err == nil && segments[0].index > founding
	})
}

// A node whose data is lost refuses to start and says what to do; rebuilt it has everything again, under its old id.
// The group has moved on meanwhile in one case, and stood still in the other.
func TestRebuildAfterLostData(t *testing.T) {
	for _, more := range []int{0, 60} {
		t.Run(fmt.Sprintf("%d writes meanwhile", more), func(t *testing.T) {
			g := newGroup(t, 3, shortLog)
			g.fill(0, 80)
			leader := g.leader()
			s := g.follower(leader)
			g.everywhere(leader)
			g.trimmed(s)
			g.kill(s)
			s.disk = &disk{}
			g.fill(1000, more)
			if err := g.open(s); !errors.Is(err, ErrNeedsCopy) || !strings.Contains(err.Error(), "--rebuild") {
				t.Fatalf("open without the data: %v", err)
			}
			before, last := g.state(s)
			at, err := g.rebuild(s)
			if err != nil {
				t.Fatal(err)
			}
			if more > 0 && at.Index <= last {
				t.Errorf("copy at %d, the log here ends at %d: the test wants one from beyond", at.Index, last)
			}
			after, _ := g.state(s)
			if after.Term < before.Term || after.Term == before.Term && after.Vote != before.Vote || after.Commit < before.Commit {
				t.Errorf("the state %v became %v", before, after)
			}
			g.start(s)
			g.put("after")
			g.everywhere(g.leader())
			if got, want := s.app.texts(), g.leader().app.texts(); !slices.Equal(got, want) || s.app.restored() < 1 { // more often when the copy was from before the leader's log begins
				t.Errorf("%d writes after %d restores, the leader has %d", len(got), s.app.restored(), len(want))
			}
		})
	}
}

// What a node has confirmed stays confirmed when its data is replaced by the copy of a node that was away: the
// write below is on two nodes, of which one is lost for good, and the other one's data is.
func TestRebuildKeepsWhatTheLogHasConfirmed(t *testing.T) {
	g := newGroup(t, 3, shortLog)
	g.fill(0, 80)
	leader := g.leader()
	s := g.follower(leader)
	away := g.sites[slices.IndexFunc(g.sites, func(o *site) bool { return o != leader && o != s })]
	g.everywhere(leader)
	g.trimmed(s)
	g.kill(away)
	g.put("confirmed by two")
	g.everywhere(leader)
	g.kill(leader)
	g.kill(s)
	s.disk = &disk{}
	g.start(away) // alone, and without the write
	if _, err := g.rebuild(s); err != nil {
		t.Fatal(err)
	}
	g.start(s)
	g.put("after")
	g.everywhere(g.leader())
	for _, o := range []*site{s, away} {
		if !slices.Contains(o.app.texts(), "confirmed by two") {
			t.Errorf("node %d misses a write that was acknowledged", o.id)
		}
	}
}

// Bits flip in the file of a received snapshot: the node refuses, and a rebuild replaces the file.
func TestRebuildAfterDamagedSnapshotFile(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	g := newGroup(t, 3, shortLog)
	g.fill(0, 80)
	leader := g.leader()
	s := g.follower(leader)
	g.everywhere(leader)
	g.trimmed(s)
	g.kill(s)
	s.disk = &disk{}
	at, err := g.rebuild(s) // what it leaves is what a crash before the restore leaves
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.dir, "snap", snapshotName(at.Index, at.Term))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		bad := slices.Clone(whole)
		i, bit := rnd.IntN(len(bad)), byte(1)<<rnd.IntN(8)
		bad[i] ^= bit
		overwrite(t, path, bad)
		if err := g.open(s); !errors.Is(err, ErrDamaged) || !errors.Is(err, ErrNeedsCopy) || !strings.Contains(err.Error(), path) {
			t.Fatalf("bit %08b of byte %d flipped: %v", bit, i, err)
		}
	}
	if _, err := g.rebuild(s); err != nil {
		t.Fatal(err)
	}
	g.start(s)
	g.put("after")
	g.everywhere(g.leader())
	if !slices.Equal(s.app.texts(), g.leader().app.texts()) {
		t.Error("other data after the rebuild")
	}
}

func TestRebuildRefusals(t *testing.T) {
	g := newGroup(t, 3, shortLog)
	g.fill(0, 80)
	leader := g.leader()
	s := g.follower(leader)
	g.everywhere(leader)
	g.trimmed(s)
	g.kill(s)
	s.disk = &disk{}
	wal := filepath.Join(s.dir, "wal")
	refused := func(name string, is error, words string) {
		t.Helper()
		_, err := g.rebuild(s)
		if !errors.Is(err, is) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", name, err)
		}
		if err := g.open(s); err == nil {
			_ = s.node.Close()
			t.Errorf("%s: the node opens", name)
		}
	}
	g.isolate(s, true)
	refused("no node answers", ErrNoCopy, "link is cut")
	g.isolate(s, false)

	path, data, used := lastSegment(t, s)
	bad := slices.Clone(data)
	bad[used/2] ^= 1
	overwrite(t, path, bad)
	refused("damaged log", ErrDamaged, path)
	overwrite(t, path, data)

	if err := os.Rename(wal, wal+"-lost"); err != nil {
		t.Fatal(err)
	}
	if _, err := g.rebuild(s); !errors.Is(err, ErrNoCopy) || !strings.Contains(err.Error(), "new node id") {
		t.Errorf("without its log: %v", err)
	}
	if err := os.Rename(wal+"-lost", wal); err != nil {
		t.Fatal(err)
	}

	cfg := g.config(s)
	cfg.SnapshotTimeout = time.Second
	rotten := errors.New("rotten")
	if _, err := Rebuild(t.Context(), cfg, func(Applied, io.Reader) error { return rotten }); !errors.Is(err, rotten) {
		t.Errorf("copy that does not verify: %v", err)
	}
	alone := newGroup(t, 1, shortLog)
	alone.put("a")
	lone := alone.leader()
	alone.kill(lone)
	lone.disk = &disk{}
	if _, err := alone.rebuild(lone); !errors.Is(err, ErrNoCopy) {
		t.Errorf("node alone: %v", err)
	}
	if files, err := os.ReadDir(filepath.Join(s.dir, "snap")); err != nil || len(files) > 0 {
		t.Errorf("%d files left, %v", len(files), err)
	}
}

// The log here goes on only behind an entry that it shares with the copy.
func TestRebuildFits(t *testing.T) {
	b := &rebuild{recovered: &recovered{entries: []raftpb.Entry{{Index: 11, Term: 2}, {Index: 12, Term: 3}}}}
	b.start.Index, b.start.Term = 10, 2
	for _, c := range []struct {
		index, term uint64
		fits        bool
	}{{9, 2, false}, {10, 2, true}, {10, 1, false}, {11, 2, true}, {12, 3, true}, {12, 4, false}, {13, 4, true}} {
		if err := b.fits(c.index, c.term); (err == nil) != c.fits {
			t.Errorf("copy at %d of term %d: %v", c.index, c.term, err)
		}
	}
}
