package dc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/consensus"
	"geogate/dc/store"
)

// restart ends a member and starts it with another configuration.
func (g *group) restart(m *member, tune func(*Config)) {
	g.t.Helper()
	m.end(g.t)
	tune(&m.cfg)
	m.start(g.t, m.cfg)
}

// follower is a running member that does not lead.
func (g *group) follower() *member {
	leader := g.leader()
	for _, m := range g.members {
		if m != leader && m.stop != nil {
			return m
		}
	}
	g.t.Fatal("no follower")
	return nil
}

// same waits until all members have applied what the leader has, and compares their digests.
func (g *group) same() {
	g.t.Helper()
	ctx := testContext(g.t)
	g.put(ctx, "last", "v")
	want := g.leader()
	for _, m := range g.members {
		if err := m.Linearize(ctx); err != nil {
			g.t.Fatal(err)
		}
		if m.store.Digest() != want.store.Digest() || m.Revision() != want.Revision() {
			g.t.Errorf("node %d has digest %x at %d, node %d %x at %d", m.cfg.Consensus.NodeID, m.store.Digest(), m.Revision(),
				want.cfg.Consensus.NodeID, want.store.Digest(), want.Revision())
		}
		if sum, err := m.store.ScanDigest(); err != nil || sum != m.store.Digest() {
			g.t.Errorf("node %d: digest %x, its file has %x (%v)", m.cfg.Consensus.NodeID, m.store.Digest(), sum, err)
		}
	}
}

// Bits flip in the database of a node of three, anywhere. The node refuses with words and is rebuilt, or it opens;
// then it has what the others have.
func TestFlippedBitsInTheDatabase(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // eight restarts
	defer cancel()
	g := newGroup(t, 3)
	for i := range 60 {
		g.put(ctx, fmt.Sprintf("k%02d", i), strings.Repeat("v", 500))
	}
	g.same()
	outcomes := map[string]int{}
	for round := range 8 {
		m := g.follower()
		m.end(t)
		path := filepath.Join(m.cfg.Dir, "store", "db")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		end := strings.LastIndex(string(data), "vvvv")
		for range 4 {
			data[rnd.IntN(end)] ^= 1 << rnd.IntN(8)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		g.put(ctx, fmt.Sprintf("meanwhile%d", round), "v")
		d, err := Open(m.cfg)
		if err == nil {
			outcomes["opened"]++
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			outcomes["rebuilt"]++
			if !NeedsCopy(err) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--rebuild") {
				t.Fatalf("refused with %v", err)
			}
			if err := Rebuild(ctx, m.cfg); err != nil {
				t.Fatal(err)
			}
		}
		m.start(t, m.cfg)
		g.same()
	}
	t.Logf("%v", outcomes)
	if outcomes["rebuilt"] == 0 {
		t.Error("no node had to be rebuilt")
	}
}

// A fsync of the database fails on one node: it says so, stops, and never tries again. The others go on, and it comes
// back with all that was acknowledged.
func TestFailingFsyncStopsOneNode(t *testing.T) {
	ctx := testContext(t)
	g := newGroup(t, 3)
	for _, leads := range []bool{false, true} {
		t.Run(fmt.Sprintf("leader %v", leads), func(t *testing.T) {
			var broken atomic.Bool
			var tries atomic.Int32
			gone := errors.New("input/output error")
			m := g.follower()
			if leads {
				m = g.leader()
			}
			g.restart(m, func(c *Config) {
				c.Store.Commit = func(tx *bolt.Tx) error {
					if broken.Load() {
						tries.Add(1)
						return gone
					}
					return tx.Commit()
				}
			})
			if leads {
				for g.leader() != m {
					if err := g.leader().node.TransferLeadership(ctx, m.cfg.Consensus.NodeID); err != nil && !errors.Is(err, consensus.ErrTransfer) {
						t.Fatal(err)
					}
				}
			}
			g.put(ctx, "before", "v")
			broken.Store(true)
			var acked []string
			for i := 0; m.Problem() == ""; i++ {
				key := fmt.Sprintf("meanwhile%d", i)
				if _, _, err := g.leader().Put(ctx, putRequest(key, "v")); err == nil { // a leader that stops may not know
					acked = append(acked, key)
				}
			}
			if p := m.Problem(); !strings.Contains(p, gone.Error()) || !strings.Contains(p, m.cfg.Dir) {
				t.Errorf("problem: %s", p)
			}
			if err := <-m.done; !errors.Is(err, gone) || !errors.Is(err, store.ErrBroken) {
				t.Errorf("run: %v", err)
			}
			m.stop()
			m.stop = nil
			if n := tries.Load(); n != 1 {
				t.Errorf("%d commits after the first had failed", n-1)
			}
			g.put(ctx, "without it", "v")
			m.cfg.Store.Commit = nil
			m.start(t, m.cfg)
			g.same()
			for _, key := range acked {
				if resp, err := m.Range(ctx, &pb.RangeRequest{Key: []byte(key)}); err != nil || resp.Count != 1 {
					t.Errorf("%s was acknowledged: %v, %v", key, resp, err)
				}
			}
		})
	}
}

func TestLowSpaceRefusesPuts(t *testing.T) {
	ctx := testContext(t)
	var free atomic.Int64
	free.Store(math.MaxInt64)
	g := newGroup(t, 1)
	m := g.leader()
	g.restart(m, func(c *Config) {
		c.MinFreeBytes, c.SpaceInterval = 1000, time.Millisecond
		c.FreeBytes = func(dir string) (int64, error) {
			if dir != c.Dir {
				return 0, fmt.Errorf("asked for %s", dir)
			}
			return free.Load(), nil
		}
	})
	g.put(ctx, "k", "v")
	wait := func(low bool) {
		t.Helper()
		for m.space.low.Load() != low {
			if ctx.Err() != nil {
				t.Fatalf("low is not %v", low)
			}
			<-time.After(time.Millisecond)
		}
	}
	put := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: putRequest("k", "w")}}
	del := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("x")}}}
	free.Store(999)
	wait(true)
	if p := m.Problem(); !strings.Contains(p, "999 bytes free") || !strings.Contains(p, "limits.min_free_bytes") || !strings.Contains(p, "1250") {
		t.Errorf("problem %q", p)
	}
	if _, _, err := m.Put(ctx, putRequest("k", "w")); !errors.Is(err, ErrLowDisk) {
		t.Errorf("put: %v", err)
	}
	if _, _, err := m.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{del}, Failure: []*pb.RequestOp{put}}); !errors.Is(err, ErrLowDisk) {
		t.Errorf("txn with a put: %v", err)
	}
	if _, _, err := m.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{del}}); err != nil {
		t.Errorf("txn that deletes: %v", err)
	}
	if _, _, err := m.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("k")}); err != nil {
		t.Errorf("delete: %v", err)
	}
	free.Store(1249) // not enough yet
	m.space.look()
	if m.Problem() == "" {
		t.Error("puts are taken at the brink")
	}
	free.Store(1250)
	wait(false)
	g.put(ctx, "k", "w")
	if p := m.Problem(); p != "" {
		t.Errorf("problem %q", p)
	}
}

// A leader whose disk is nearly full is relieved by a node that has room, and puts go on.
func TestLowSpaceHandsTheLeadershipOn(t *testing.T) {
	ctx := testContext(t)
	g := newGroup(t, 3)
	first := g.follower()
	var low atomic.Bool
	g.restart(first, func(c *Config) {
		c.MinFreeBytes, c.SpaceInterval = 1000, time.Millisecond
		c.FreeBytes = func(string) (int64, error) {
			if low.Load() {
				return 999, nil
			}
			return math.MaxInt64, nil
		}
	})
	for g.leader() != first {
		if err := g.leader().node.TransferLeadership(ctx, first.cfg.Consensus.NodeID); err != nil &&
			!errors.Is(err, consensus.ErrTransfer) && !errors.Is(err, consensus.ErrNotLeader) {
			t.Fatal(err)
		}
	}
	g.put(ctx, "k", "v")
	low.Store(true)
	for g.leader() == first {
		if ctx.Err() != nil {
			t.Fatal("the node with the full disk leads still")
		}
		<-time.After(time.Millisecond)
	}
	g.put(ctx, "k", "w")
	if p := first.Problem(); !strings.Contains(p, "999 bytes free") {
		t.Errorf("problem %q", p)
	}
	g.same()
}
