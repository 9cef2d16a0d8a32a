package consensus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestSingleNodeWritesReadsAndRestarts(t *testing.T) {
	g := newGroup(t, 1, nil)
	s := g.sites[0]
	for i := range 20 {
		g.put(text(i, 100))
	}
	index, err := s.node.ReadIndex(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.node.WaitApplied(t.Context(), index); err != nil {
		t.Fatal(err)
	}
	before := s.app.texts()
	if len(before) != 20 {
		t.Fatalf("%d writes applied, want 20", len(before))
	}
	g.stop(s)
	g.start(s)
	g.put("after")
	if got := s.app.texts(); !slices.Equal(got, append(before, "after")) {
		t.Fatalf("after the restart %d writes, want %d", len(got), len(before)+1)
	}
}

func TestThreeNodesApplyTheSame(t *testing.T) {
	g := newGroup(t, 3, nil)
	leader := g.leader()
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 20 {
				g.put(fmt.Sprintf("writer %d write %d", w, i))
			}
		})
	}
	wg.Wait()
	g.everywhere(g.leader())
	for _, s := range g.sites {
		all := s.app.texts()
		next := make(map[string]int)
		for _, text := range all {
			writer, n, _ := strings.Cut(strings.TrimRight(text, "'"), " write ")
			if strings.HasSuffix(text, "'") && fmt.Sprint(next[writer]-1) == n {
				continue // written again because its outcome was unknown, and it had been committed
			}
			if fmt.Sprint(next[writer]) != n {
				t.Fatalf("node %d: %s wrote %s, want %d", s.id, writer, n, next[writer])
			}
			next[writer]++
		}
		if len(all) < 320 {
			t.Errorf("node %d applied %d writes, want 320", s.id, len(all))
		}
	}
	if entries := leader.node.Status().LastIndex; entries > 320 {
		t.Errorf("%d entries for 320 writes: nothing was grouped", entries)
	}
}

// A held-up disk must gather writes into one entry, and keep their order.
func TestGroupCommitPacksWhatWaits(t *testing.T) {
	g := newGroup(t, 1, nil)
	s := g.sites[0]
	g.leader()
	g.stop(s)
	if err := g.open(s); err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	var once sync.Once
	reached := make(chan struct{})
	armed := make(chan struct{})
	s.node.loop.wal = &slowLog{s.node.wal, func() error {
		select {
		case <-armed:
			once.Do(func() { close(reached); <-hold })
		default:
		}
		return nil
	}}
	g.run(s)
	g.leader()
	close(armed)
	done := make([]chan error, 0)
	put := func(i int) {
		w := write{text: fmt.Sprint(i), done: make(chan error, 1)}
		s.app.mu.Lock()
		s.app.queue = append(s.app.queue, w)
		s.app.mu.Unlock()
		signal(s.app.waitingC)
		done = append(done, w.done)
	}
	put(0)
	<-reached
	for i := 1; i <= 100; i++ {
		put(i)
	}
	close(hold)
	for _, c := range done {
		if err := <-c; err != nil {
			t.Fatal(err)
		}
	}
	s.app.mu.Lock()
	defer s.app.mu.Unlock()
	if !slices.Equal(s.app.packs, []int{1, 100}) {
		t.Errorf("writes per entry %v, want 1 and then the 100 that waited", s.app.packs)
	}
	for i, text := range unpack(s.app.entries[len(s.app.entries)-1].Data) {
		if text != fmt.Sprint(i+1) {
			t.Fatalf("write %d stands at place %d", i+1, i)
		}
	}
}

func TestStopHandsOverLeadership(t *testing.T) {
	g := newGroup(t, 3, nil)
	g.grown()
	old := g.leader()
	g.put("before")
	start := time.Now()
	g.stop(old)
	took := time.Since(start)
	now := g.leader()
	if now == old {
		t.Fatal("a stopped node leads")
	}
	g.put("after")
	if took > time.Second {
		t.Errorf("hand-over took %v", took)
	}
	old.app.mu.Lock()
	defer old.app.mu.Unlock()
	if old.app.leading {
		t.Error("the stopped node was not told that it no longer leads")
	}
}

func TestTransferLeadership(t *testing.T) {
	g := newGroup(t, 3, nil)
	old := g.leader()
	to := g.follower(old)
	g.everywhere(old)
	if err := to.node.TransferLeadership(t.Context(), old.id); !errors.Is(err, ErrNotLeader) {
		t.Errorf("transfer by a follower: %v, want ErrNotLeader", err)
	}
	if err := old.node.TransferLeadership(t.Context(), 99); !errors.Is(err, ErrTransfer) {
		t.Errorf("transfer to a stranger: %v, want ErrTransfer", err)
	}
	if err := old.node.TransferLeadership(t.Context(), to.id); err != nil {
		t.Fatal(err)
	}
	if now := g.leader(); now != to {
		t.Errorf("node %d leads, want %d", now.id, to.id)
	}
}

func TestTransferToUnreachableFails(t *testing.T) {
	g := newGroup(t, 3, nil)
	old := g.leader()
	to := g.follower(old)
	g.everywhere(old)
	g.isolate(to, true)
	g.put("not on the isolated node", to)
	if lead := g.leader(to); lead != old {
		t.Skip("leadership moved on its own")
	}
	if err := old.node.TransferLeadership(t.Context(), to.id); !errors.Is(err, ErrTransfer) {
		t.Errorf("%v, want ErrTransfer", err)
	}
	g.isolate(to, false)
	g.put("still works")
}

func TestOpenRefusals(t *testing.T) {
	g := newGroup(t, 1, nil)
	s := g.sites[0]
	g.put("x")
	g.stop(s)
	for _, c := range []struct {
		name  string
		tune  func(*Config)
		want  error
		words string
	}{
		{"cluster", func(c *Config) { c.ClusterID = 8 }, ErrForeign, fmt.Sprintf("group %x", ourCluster)},
		{"node", func(c *Config) { c.NodeID = 2; c.Members = []Member{{ID: 2, Addr: "127.0.0.1:1"}} }, ErrForeign, "node 1"},
		{"stranger", func(c *Config) { c.NodeID = 5 }, ErrConfig, "not among Members"},
		{"no id", func(c *Config) { c.NodeID = 0 }, ErrConfig, "NodeID"},
		{"negative", func(c *Config) { c.QueueBytes = -1 }, ErrConfig, "QueueBytes"},
		{"election", func(c *Config) { c.ElectionTicks = 1 }, ErrConfig, "HeartbeatTicks"},
		{"entry", func(c *Config) { c.MaxEntryBytes = 20 << 20 }, ErrConfig, "MaxMessageBytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := g.config(s)
			c.tune(&cfg)
			n, err := Open(cfg)
			if err == nil {
				n.Close()
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v, want %v with %q", err, c.want, c.words)
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := Config{ClusterID: 1, NodeID: 1, Dir: t.TempDir(), StateMachine: newApp(t, 1, &disk{}), Members: []Member{{ID: 1, Addr: l.Addr().String()}}}
	if _, err := Open(cfg); err == nil {
		t.Fatal("opened on a port in use")
	}
	cfg.Listen = "127.0.0.1:0"
	n, err := Open(cfg) // the failed attempt must have let go of the log
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.Run(t.Context()); !errors.Is(err, ErrRunning) {
		t.Errorf("Run after Close: %v", err)
	}
	if _, err := n.ReadIndex(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("ReadIndex after Close: %v", err)
	}
}

func TestMetricsComeAndGo(t *testing.T) {
	r := prometheus.NewRegistry()
	g := newGroup(t, 1, func(c *Config) { c.Registerer = r })
	g.put("x")
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, f := range families {
		found[f.GetName()] = true
		if !strings.HasPrefix(f.GetName(), "geogate_raft_") {
			t.Errorf("metric %s", f.GetName())
		}
	}
	for _, name := range []string{"wal_fsync_seconds", "entries_proposed_total", "leader_changes_total", "apply_queue_bytes"} {
		if !found["geogate_raft_"+name] {
			t.Errorf("metric %s is missing", name)
		}
	}
	g.stop(g.sites[0])
	g.start(g.sites[0]) // registers again
	g.leader()
}

func TestTooLargeEntryIsGivenBack(t *testing.T) {
	g := newGroup(t, 1, func(c *Config) { c.MaxEntryBytes, c.MaxSizePerMsg, c.MaxMessageBytes = 1000, 1000, 4000 })
	s := g.leader()
	if err := s.app.put(t.Context(), text(1, 3000)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v, want ErrTooLarge", err)
	}
	g.put("small")
}

func TestWaitAppliedEndsWithContext(t *testing.T) {
	g := newGroup(t, 1, nil)
	s := g.leader()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.node.WaitApplied(ctx, 1<<40); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}
