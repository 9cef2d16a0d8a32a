package consensus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What may not happen: a write that was acknowledged is missing on any node once the group is whole again.
func TestKilledLeadersLoseNoAcknowledgedWrite(t *testing.T) {
	g := newGroup(t, 3, func(c *Config) { c.TruncateBytes = 32 << 10 })
	g.grown()
	var mu sync.Mutex
	var acked []string
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	apps := make([]atomic.Pointer[app], len(g.sites)) // an app is replaced when its node restarts
	for i, s := range g.sites {
		apps[i].Store(s.app)
	}
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				text := text(w*1_000_000+i, 200)
				for j := range apps {
					once, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
					err := apps[(i+j)%len(apps)].Load().put(once, text)
					cancel()
					if err == nil {
						mu.Lock()
						acked = append(acked, text)
						mu.Unlock()
					}
					if !errors.Is(err, ErrNotLeader) {
						break
					}
				}
			}
		})
	}
	for round := range 3 {
		count := func() int { mu.Lock(); defer mu.Unlock(); return len(acked) }
		before := count()
		eventually(t, "writes", func() bool { return count() > before+100 })
		victim := g.leader()
		g.kill(victim)
		before = count()
		if round < 2 { // the third time it comes back at once
			eventually(t, "writes without the killed node", func() bool { return count() > before+20 })
		}
		g.start(victim)
		apps[victim.id-1].Store(victim.app)
	}
	stop()
	wg.Wait()
	g.put("last")
	g.everywhere(g.leader())
	for _, s := range g.sites {
		has := make(map[string]bool)
		for _, text := range s.app.texts() {
			if has[text] {
				t.Fatalf("node %d applied %.20s twice", s.id, text)
			}
			has[text] = true
		}
		for _, text := range acked {
			if !has[text] {
				t.Fatalf("node %d misses the acknowledged write %.20s", s.id, text)
			}
		}
	}
	t.Logf("%d acknowledged writes", len(acked))
}

// A crash loses what a state machine has not flushed; the log gives it back.
func TestReplayFromDurable(t *testing.T) {
	g := newGroup(t, 3, nil)
	for i := range 10 {
		g.put(fmt.Sprint("early ", i))
	}
	g.everywhere(g.leader())
	for _, s := range g.sites {
		s.app.mu.Lock()
		s.app.lazy = true
		s.app.mu.Unlock()
	}
	for i := range 10 {
		g.put(fmt.Sprint("late ", i))
	}
	g.everywhere(g.leader())
	want := g.leader().app.texts()
	for _, s := range g.sites {
		g.kill(s)
	}
	for _, s := range g.sites {
		g.start(s)
		if n := len(s.app.texts()); n >= len(want) {
			t.Fatalf("node %d: %d writes on disk, the test wants fewer than %d", s.id, n, len(want))
		}
	}
	g.everywhere(g.leader())
	for _, s := range g.sites {
		eventually(t, "replay", func() bool { return slices.Equal(s.app.texts(), want) })
	}
}

func TestIsolatedLeaderStepsDownAndAcknowledgesNothing(t *testing.T) {
	g := newGroup(t, 3, nil)
	g.grown()
	old := g.leader()
	g.put("before")
	g.isolate(old, true)
	lost := make(chan error, 1)
	go func() { lost <- old.app.put(context.Background(), "lost") }()
	g.put("meanwhile", old)
	if err := <-lost; err == nil {
		t.Fatal("an isolated leader acknowledged a write")
	}
	eventually(t, "the old leader to step down", func() bool { return !old.app.isLeading() })
	g.isolate(old, false)
	g.put("after")
	g.everywhere(g.leader())
	for _, s := range g.sites {
		if slices.Contains(s.app.texts(), "lost") {
			t.Error("a write without a majority was applied")
		}
	}
}

// PreVote and the lease of CheckQuorum keep a returning node from disturbing the others.
func TestReturningNodeDoesNotDisturb(t *testing.T) {
	g := newGroup(t, 3, nil)
	leader := g.leader()
	away := g.follower(leader)
	g.isolate(away, true)
	eventually(t, "the isolated node to miss its leader", func() bool { return away.node.Status().Leader == 0 })
	term := leader.node.Status().Term
	g.put("meanwhile", away)
	g.isolate(away, false)
	eventually(t, "the node to return", func() bool { return away.node.Status().Leader == leader.id })
	if now := leader.node.Status(); now.Term != term || !now.Leading {
		t.Errorf("term %d leading %v after a node returned, was term %d", now.Term, now.Leading, term)
	}
}

// A disk that stalls for several election timeouts costs no leadership, on the leader or on a follower.
func TestStalledDiskKeepsLeadership(t *testing.T) {
	for _, who := range []string{"leader", "followers"} {
		t.Run(who, func(t *testing.T) {
			g := newGroup(t, 3, nil)
			var stall atomic.Pointer[chan struct{}]
			var stalled atomic.Int32
			for _, s := range g.sites {
				g.stop(s)
			}
			for _, s := range g.sites {
				if err := g.open(s); err != nil {
					t.Fatal(err)
				}
				node := s.node
				s.node.loop.wal = &slowLog{s.node.wal, func() error {
					wait := stall.Load()
					if wait != nil && node.Status().Leading == (who == "leader") {
						stalled.Add(1)
						<-*wait
					}
					return nil
				}}
				g.run(s)
			}
			leader := g.leader()
			g.put("before")
			g.everywhere(leader)
			term := leader.node.Status().Term
			wait := make(chan struct{})
			stall.Store(&wait)
			done := make(chan error, 1)
			go func() { done <- leader.app.put(context.Background(), "held up") }()
			eventually(t, "the stall", func() bool { return stalled.Load() > 0 })
			<-time.After(5 * leader.node.cfg.electionTimeout()) // the stall itself
			stall.Store(nil)
			close(wait)
			if err := <-done; err != nil {
				t.Errorf("write during the stall: %v", err)
			}
			if st := leader.node.Status(); st.Term != term || !st.Leading {
				t.Errorf("term %d leading %v after the stall, was term %d", st.Term, st.Leading, term)
			}
			g.put("after")
		})
	}
}

// A slow state machine holds back proposals, not heartbeats, and the queue keeps its bound.
func TestSlowApplyKeepsLeadershipAndBound(t *testing.T) {
	g := newGroup(t, 3, func(c *Config) {
		c.MaxApplyQueueBytes, c.MaxEntryBytes, c.MaxUncommittedEntriesSize = 32<<10, 4<<10, 32<<10
	})
	for _, s := range g.sites {
		g.stop(s)
	}
	gates := make(map[*site]chan struct{})
	for _, s := range g.sites {
		if err := g.open(s); err != nil {
			t.Fatal(err)
		}
		gates[s] = make(chan struct{})
		s.app.gate = gates[s]
		g.run(s)
	}
	// Every Apply needs a token; feed them until a leader is there, then stop.
	feed := func(until func() bool) {
		eventually(t, "progress of apply", func() bool {
			for _, s := range g.sites {
				select {
				case gates[s] <- struct{}{}:
				default:
				}
			}
			return until()
		})
	}
	var leader *site
	feed(func() bool {
		for _, s := range g.sites {
			if s.node.Status().Leading && s.app.isLeading() {
				leader = s
				return true
			}
		}
		return false
	})
	term := leader.node.Status().Term
	const writes = 200
	done := make(chan error, writes)
	for i := range writes {
		go func() { done <- leader.app.put(context.Background(), text(i, 1000)) }()
	}
	eventually(t, "a full queue", func() bool { return leader.node.queue.full() })
	<-time.After(3 * leader.node.cfg.electionTimeout())
	for _, s := range g.sites {
		if n := s.node.queue.size(); n > 32<<10+2*32<<10 {
			t.Errorf("node %d: %d bytes wait for apply", s.id, n)
		}
	}
	if st := leader.node.Status(); st.Term != term || !st.Leading {
		t.Errorf("term %d leading %v while apply is stuck, was term %d", st.Term, st.Leading, term)
	}
	for _, s := range g.sites {
		close(gates[s])
	}
	for range writes {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// A failed write of the log stops the node; the others go on.
func TestLogWriteErrorStopsTheNode(t *testing.T) {
	g := newGroup(t, 3, nil)
	leader := g.leader()
	s := g.follower(leader)
	g.stop(s)
	if err := g.open(s); err != nil {
		t.Fatal(err)
	}
	var broken atomic.Bool
	disk := errors.New("disk is gone")
	tries := 0
	s.node.loop.wal = &slowLog{s.node.wal, func() error {
		if broken.Load() {
			tries++
			return disk
		}
		return nil
	}}
	g.run(s)
	eventually(t, "the node to join", func() bool { return s.node.Status().Leader != 0 })
	broken.Store(true)
	g.put("x", s)
	err := <-s.ended
	s.ended = nil
	s.stop()
	if !errors.Is(err, ErrLogWrite) || !errors.Is(err, disk) {
		t.Errorf("Run returned %v, want ErrLogWrite", err)
	}
	if tries != 1 {
		t.Errorf("the log was written %d times after it failed", tries-1)
	}
	if _, err := s.node.ReadIndex(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("ReadIndex on a failed node: %v", err)
	}
	g.put("y", s)
	g.start(s) // and it comes back
	g.everywhere(g.leader())
}

type failing struct{ *app }

func (failing) Apply([]Entry) error { return errors.New("store is broken") }

func TestApplyErrorStopsTheNode(t *testing.T) {
	a := newApp(t, 1, &disk{})
	n, err := Open(Config{ClusterID: 1, NodeID: 1, Dir: t.TempDir(), Members: []Member{{ID: 1, Addr: "127.0.0.1:0"}}, StateMachine: failing{a}})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Run(t.Context()); err == nil || err.Error() == "" {
		t.Error("Run returned nil")
	}
}

// A node whose disk was wiped comes back under its old id: it must stop, not take part.
func TestWipedNodeStops(t *testing.T) {
	g := newGroup(t, 3, nil)
	for i := range 10 {
		g.put(fmt.Sprint(i))
	}
	leader := g.leader()
	s := g.follower(leader)
	g.everywhere(leader)
	g.kill(s)
	g.wipe(s)
	g.start(s)
	err := <-s.ended
	s.ended = nil
	s.stop()
	if !errors.Is(err, ErrBroken) {
		t.Errorf("Run returned %v, want ErrBroken", err)
	}
}

// The leader and b have confirmed a write that c lacks. Both are gone, and b comes back with an empty disk: with its vote c
// would lead without the write.
func TestWipedNodeDoesNotVoteAWriteAway(t *testing.T) {
	g := newGroup(t, 3, nil)
	g.put("first")
	a := g.leader()
	g.everywhere(a)
	b := g.follower(a)
	c := g.sites[slices.IndexFunc(g.sites, func(s *site) bool { return s != a && s != b })]
	g.isolate(c, true)
	g.put("confirmed", c)
	g.kill(a)
	g.kill(b)
	g.isolate(c, false)
	g.wipe(b)
	g.start(b)
	g.leaderless(b, c)
	g.kill(b)
	g.start(b) // it has a log by now, in which there is nothing
	g.leaderless(b, c)
	g.start(a)
	g.everywhere(g.leader())
	if got := c.app.texts(); !slices.Contains(got, "confirmed") {
		t.Errorf("c has %q", got)
	}
	// With all that was committed b has a vote again.
	last := g.leader()
	if last == b {
		t.Fatal("who began anew leads already")
	}
	g.kill(last)
	g.put("later", last)
	g.start(last)
	g.everywhere(g.leader())
}
