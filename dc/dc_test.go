package dc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/goleak"

	"geogate/consensus"
	"geogate/dc/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// member is one running replica of a group.
type member struct {
	*DC
	cfg  Config
	stop context.CancelFunc
	done chan error
}

// group runs replicas on loopback, with real logs and real fsync.
type group struct {
	t       *testing.T
	members []*member
}

func newGroup(t *testing.T, n int) *group {
	t.Helper()
	var dirs []string
	for range n {
		dirs = append(dirs, t.TempDir())
	}
	return newGroupIn(t, Config{Name: "a"}, dirs)
}

// newGroupIn starts one replica in each directory.
func newGroupIn(t *testing.T, base Config, dirs []string) *group {
	t.Helper()
	return newGroupAt(t, base, dirs, make([]string, len(dirs)))
}

// newGroupAt is newGroupIn at given addresses; an empty one is chosen.
func newGroupAt(t *testing.T, base Config, dirs, addrs []string) *group {
	t.Helper()
	n := len(dirs)
	g := &group{t: t}
	var peers []consensus.Member
	var listeners []net.Listener
	for i := range n {
		l, err := net.Listen("tcp", cmp.Or(addrs[i], "127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		peers = append(peers, consensus.Member{ID: uint64(i + 1), Addr: l.Addr().String()})
	}
	for i := range n {
		cfg := base
		cfg.Dir = dirs[i]
		cfg.Consensus = consensus.Config{
			ClusterID: 1, NodeID: uint64(i + 1), Members: peers, TickInterval: 20 * time.Millisecond,
		}
		m := &member{cfg: cfg}
		cfg.Consensus.Listener = listeners[i]
		g.members = append(g.members, m)
		m.start(t, cfg)
	}
	t.Cleanup(func() {
		for _, m := range g.members {
			m.end(t)
		}
	})
	return g
}

func (m *member) start(t *testing.T, cfg Config) {
	t.Helper()
	var err error
	if m.DC, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.stop, m.done = cancel, make(chan error, 1)
	go func(d *DC) { m.done <- d.Run(ctx) }(m.DC)
}

func (m *member) end(t *testing.T) {
	t.Helper()
	if m.stop == nil {
		return
	}
	m.stop()
	if err := <-m.done; err != nil && !errors.Is(err, store.ErrClosed) {
		t.Errorf("replica ended with %v", err)
	}
	m.stop = nil
}

// kill ends a replica as a crash would, and start(m.cfg) brings it back.
func (m *member) kill() {
	m.Kill()
	<-m.done
	m.stop()
	m.stop = nil
}

// leader waits for the member that leads.
func (g *group) leader() *member {
	g.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		for _, m := range g.members {
			if m.stop == nil {
				continue
			}
			if _, ok := m.Leading(); ok {
				return m
			}
		}
		select {
		case <-deadline:
			g.t.Fatal("no leader within 20 s")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// put writes through whoever leads until it is answered.
func (g *group) put(ctx context.Context, key, value string) {
	g.t.Helper()
	for {
		_, _, err := g.leader().Put(ctx, putRequest(key, value))
		switch {
		case err == nil:
			return
		case errors.Is(err, ErrNotLeader), errors.Is(err, ErrSuperseded): // certainly not applied
		default:
			g.t.Fatalf("put %s: %v", key, err)
		}
	}
}

func TestOneNodeSurvivesKill(t *testing.T) {
	ctx := testContext(t)
	g := newGroup(t, 1)
	m := g.leader()
	var want strings.Builder
	for i := range 50 {
		g.put(ctx, fmt.Sprintf("k%02d", i), "v")
		fmt.Fprintf(&want, "k%02d ", i)
	}
	incarnation, digest, revision := m.Incarnation(), m.store.Digest(), m.Revision()
	m.kill()
	m.start(t, m.cfg)
	g.leader()
	resp, err := m.Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, kv := range resp.Kvs {
		got.WriteString(string(kv.Key) + " ")
	}
	if got.String() != want.String() || m.store.Digest() != digest || m.Revision() != revision || m.Incarnation() != incarnation {
		t.Errorf("after the restart: %q, digest %x want %x, revision %d want %d", got.String(), m.store.Digest(), digest, m.Revision(), revision)
	}
}

func TestOnlyTheLeaderTakesWritesAndEveryNodeReadsThem(t *testing.T) {
	ctx := testContext(t)
	g := newGroup(t, 3)
	leader := g.leader()
	g.put(ctx, "k", "v")
	for _, m := range g.members {
		if m != leader {
			if _, _, err := m.Put(ctx, putRequest("k", "w")); !errors.Is(err, ErrNotLeader) {
				t.Errorf("a follower answered a put with %v", err)
			}
		}
		resp, err := m.Range(ctx, &pb.RangeRequest{Key: []byte("k")})
		if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != "v" {
			t.Errorf("node %d reads %v, %v", m.cfg.Consensus.NodeID, resp, err)
		}
		txn, err := m.ReadTxn(ctx, &pb.TxnRequest{Compare: []*pb.Compare{valueIs("k", "v")}, Success: []*pb.RequestOp{opGet("k")}})
		if err != nil || !txn.Succeeded || len(txn.Responses[0].GetResponseRange().Kvs) != 1 {
			t.Errorf("node %d reads in a txn %v, %v", m.cfg.Consensus.NodeID, txn, err)
		}
	}
}

// Writers keep going while leaders are killed; every acknowledged write is there, once, on every node.
func TestAcknowledgedWritesSurviveLeaderKills(t *testing.T) {
	ctx := testContext(t)
	g := newGroup(t, 3)
	var mu sync.Mutex // the group changes members only between rounds
	acked := map[string]bool{}
	for round := range 3 {
		leader := g.leader()
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := range 50 {
					key := fmt.Sprintf("%d/%d/%d", round, w, i)
					if _, _, err := leader.Put(ctx, putRequest(key, "v")); err != nil {
						return
					}
					mu.Lock()
					acked[key] = true
					enough := len(acked) > round*100+40
					mu.Unlock()
					if enough && w == 0 {
						leader.Kill()
					}
				}
			})
		}
		wg.Wait()
		leader.kill()
		g.put(ctx, fmt.Sprintf("after %d", round), "v")
		leader.start(t, leader.cfg)
	}
	g.put(ctx, "last", "v")
	digests := map[uint64]bool{}
	for _, m := range g.members {
		resp, err := m.Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]int64{}
		for _, kv := range resp.Kvs {
			have[string(kv.Key)] = kv.Version
		}
		for key := range acked {
			if have[key] != 1 {
				t.Errorf("node %d has version %d of the acknowledged %s", m.cfg.Consensus.NodeID, have[key], key)
			}
		}
		digests[m.store.Digest()] = true
	}
	if len(digests) != 1 {
		t.Errorf("the nodes have %d different digests", len(digests))
	}
	t.Logf("%d writes were acknowledged", len(acked))
}
