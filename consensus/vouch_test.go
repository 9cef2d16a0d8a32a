package consensus

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.etcd.io/etcd/raft/v3/raftpb"
)

func count(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	m := &dto.Metric{}
	if err := c.Write(m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// Where leader and follower are a majority, a follower's read costs the request and its answer.
func TestFollowerReadsFromTheLeaderAlone(t *testing.T) {
	for _, c := range []struct {
		nodes   int
		vouched bool
	}{{2, true}, {3, true}, {5, false}} {
		g := newGroup(t, c.nodes, nil)
		g.put("x")
		leader := g.leader()
		if _, err := g.read(t.Context(), g.follower(leader)); err != nil {
			t.Fatal(err)
		}
		if got := count(t, leader.node.metrics.readsVouched) > 0; got != c.vouched {
			t.Errorf("of %d nodes the request is enough: %v, want %v", c.nodes, got, c.vouched)
		}
	}
}

// What a follower sent before a read began must not serve it: a request vouches for itself only. Here nobody hears
// the leader, which still hears requests.
func TestRequestVouchesForNoOtherRead(t *testing.T) {
	g := newGroup(t, 3, func(c *Config) { c.ElectionTicks, c.ReadRetry = 100, 10*time.Millisecond }) // nobody notices for a second
	g.grown()
	g.put("x")
	leader := g.leader()
	follower := g.follower(leader)
	g.mu.Lock()
	for _, o := range g.sites {
		g.cut[[2]uint64{leader.id, o.id}] = true
	}
	g.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	own, others := make(chan error, 1), make(chan error, 1)
	go func() { _, err := leader.node.ReadIndex(ctx); own <- err }()
	eventually(t, "the leader to ask", func() bool { return count(t, leader.node.metrics.readRequests) > 0 })
	go func() { _, err := follower.node.ReadIndex(ctx); others <- err }()
	eventually(t, "requests of a follower", func() bool { return count(t, leader.node.metrics.readsVouched) > 1 })
	select {
	case err := <-own:
		t.Fatalf("the leader's own read ended: %v", err)
	case err := <-others:
		t.Fatalf("the follower's read ended: %v", err)
	default:
	}
	cancel()
	<-own
	<-others
}

func TestMajorityOfTwo(t *testing.T) {
	for name, c := range map[string]struct {
		conf raftpb.ConfState
		want bool
	}{
		"two":               {raftpb.ConfState{Voters: []uint64{1, 2}}, true},
		"three":             {raftpb.ConfState{Voters: []uint64{1, 2, 3}}, true},
		"four":              {raftpb.ConfState{Voters: []uint64{1, 2, 3, 4}}, false},
		"a learner":         {raftpb.ConfState{Voters: []uint64{1, 3}, Learners: []uint64{2}}, false},
		"a leader that was": {raftpb.ConfState{Voters: []uint64{2, 3}}, false},
		"a joint change":    {raftpb.ConfState{Voters: []uint64{1, 2, 3}, VotersOutgoing: []uint64{1, 2}}, false},
	} {
		if got := majority(&c.conf, 1, 2); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if majority(&raftpb.ConfState{Voters: []uint64{1}}, 1, 1) {
		t.Error("a node and itself are two")
	}
}
