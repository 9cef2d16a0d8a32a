package dc

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"geogate/dc/store"
)

// await polls a condition that other goroutines bring about.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within 30 s: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// The disk of one node of three holds another value than those of the others, and every checksum fits. That node says
// so and is not ready, the others say nothing of the kind, and writes go on; rebuilt, it is equal again.
func TestNodeThatDiffersIsNamed(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	g := newGroupIn(t, Config{Name: "a", ReplicaCheckInterval: 30 * time.Millisecond}, dirs)
	g.put(ctx, "k", "right")
	g.put(ctx, "other", "v")
	compared := func(state string, members ...*member) {
		t.Helper()
		since := time.Now()
		await(t, state, func() bool {
			for _, m := range members {
				if c := m.ReplicaCheck(); c.State != state || c.At.Before(since) {
					return false
				}
			}
			return true
		})
	}
	compared("equal", g.members...)
	bad := g.follower()
	var good []*member
	for _, m := range g.members {
		if m != bad {
			good = append(good, m)
		}
	}
	bad.end(t)
	plantOnDisk(t, bad.cfg, "k", "wrong")
	bad.start(t, bad.cfg)
	g.put(ctx, "meanwhile", "v")
	compared("different", bad)
	compared("equal", good...)
	if p := bad.Problem(); !strings.Contains(p, "this node's data differs from the leader's") || !strings.Contains(p, "--rebuild") {
		t.Errorf("its problem is %q", p)
	}
	if value(t, bad.metrics.replicaDiffers) != 1 || value(t, good[0].metrics.replicaDiffers) != 0 {
		t.Errorf("the metrics say %v and %v", value(t, bad.metrics.replicaDiffers), value(t, good[0].metrics.replicaDiffers))
	}
	for _, m := range good {
		if p := m.Problem(); p != "" {
			t.Errorf("node %d has the problem %q", m.cfg.Consensus.NodeID, p)
		}
	}
	g.put(ctx, "after", "v") // writes go on

	bad.end(t)
	if err := Rebuild(ctx, bad.cfg); err != nil {
		t.Fatal(err)
	}
	bad.start(t, bad.cfg)
	compared("equal", bad)
	if p := bad.Problem(); p != "" {
		t.Errorf("rebuilt, its problem is %q", p)
	}
}

// plantOnDisk writes a value in the place of a key's present one, as the same write, into the data of a node that is
// down.
func plantOnDisk(t *testing.T, cfg Config, key, value string) {
	t.Helper()
	s, err := store.Open(store.Config{Path: filepath.Join(cfg.Dir, "store", "db")})
	if err != nil {
		t.Fatal(err)
	}
	v, known, err := s.State([]byte(key))
	if err != nil || !known {
		t.Fatalf("%q is not there: %v", key, err)
	}
	v.Value = []byte(value)
	b, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	b.NextTxn()
	b.Replace(&v)
	b.Commit(s.Applied())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A replica that was restored from a snapshot has noted nothing that the leader asks about.
func TestReplicaCheckAfterASnapshot(t *testing.T) {
	r, other := newReplica(t, "a"), newReplica(t, "a")
	r.put("k", "1")
	r.noted(note{Mark: true})
	wrong := *r.replica.told.Load()
	wrong.Digest++
	r.noted(note{Check: &wrong})
	if c := r.ReplicaCheck(); c.State != "different" {
		t.Errorf("another digest is %+v", c)
	}
	right := *r.replica.told.Load()
	r.noted(note{Check: &right})
	if c := r.ReplicaCheck(); c.State != "equal" || r.Problem() != "" {
		t.Errorf("the same is %+v", c)
	}
	other.put("k", "2")
	r.restoreFrom(other)
	r.noted(note{Check: &wrong})
	if c := r.ReplicaCheck(); c.State != "equal" {
		t.Errorf("what was noted before a snapshot counts: %+v", c)
	}
}
