package consensus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"

	"geogate/consensus/pb"
)

// soon bounds a step of a test.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// change asks whoever leads for a change until the answer is not one of a passing state.
func (g *group) change(f func(context.Context, *Node) error) error {
	g.t.Helper()
	var err error
	eventually(g.t, "a change of membership", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		err = f(ctx, g.leader().node)
		for _, passing := range []error{ErrNotLeader, ErrUnhealthy, ErrTransfer, ErrDropped, ErrStopped, ErrUncertain, ErrLearnerBehind, context.DeadlineExceeded} {
			if errors.Is(err, passing) {
				return false
			}
		}
		return true
	})
	return err
}

// admit adds a member and prepares its node.
func (g *group) admit(learner bool) *site {
	g.t.Helper()
	s := &site{dir: filepath.Join(g.t.TempDir(), "node"), disk: &disk{}, addr: freeAddr(g.t), joins: true}
	err := g.change(func(ctx context.Context, n *Node) error {
		if m, ok := n.Membership().at(s.addr); ok { // an attempt whose answer was lost
			s.id = m.ID
			return nil
		}
		m, err := n.AddMember(ctx, s.addr, learner)
		s.id = m.ID
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	g.sites = append(g.sites, s)
	return s
}

// join starts an admitted node as a new process would: it asks the others for its id.
func (g *group) join(s *site) {
	g.t.Helper()
	var ask []string
	for _, o := range g.sites {
		if o.ended != nil {
			ask = append(ask, o.addr)
		}
	}
	id, members, err := Discover(soon(g.t), Discovery{ClusterID: ourCluster, Addr: s.addr, Ask: ask})
	if err != nil {
		g.t.Fatal(err)
	}
	if id != s.id {
		g.t.Fatalf("the new node found id %x, was given %x", id, s.id)
	}
	s.members = members
	g.start(s)
}

// grow adds a learner, waits for it, and makes it a voter.
func (g *group) grow() *site {
	g.t.Helper()
	s := g.admit(true)
	g.join(s)
	g.promote(s)
	return s
}

func (g *group) promote(s *site) {
	g.t.Helper()
	if err := g.change(func(ctx context.Context, n *Node) error { return n.PromoteMember(ctx, s.id) }); err != nil && !errors.Is(err, ErrNotLearner) {
		g.t.Fatal(err)
	}
}

// remove takes a member out and waits until its node has stopped.
func (g *group) remove(s *site) {
	g.t.Helper()
	s.removed = true
	if err := g.change(func(ctx context.Context, n *Node) error { return n.RemoveMember(ctx, s.id) }); err != nil && !errors.Is(err, ErrMemberNotFound) {
		g.t.Fatal(err)
	}
	if s.ended == nil {
		return
	}
	eventually(g.t, "the removed node to know", func() bool { return s.node.removal.err() != nil })
	s.stop()
	if err := <-s.ended; !errors.Is(err, ErrRemoved) || !strings.Contains(err.Error(), "empty the node's directory") {
		g.t.Fatalf("the removed node ended with %v", err)
	}
	s.ended = nil
}

// sameMembers checks that all running nodes agree who the members are.
func (g *group) sameMembers() *Membership {
	g.t.Helper()
	g.everywhere(g.leader())
	var want *Membership
	eventually(g.t, "all members to have told their names", func() bool {
		want = g.leader().node.Membership()
		return !slices.ContainsFunc(want.Members, func(m Member) bool { return !m.Started() })
	})
	for _, s := range g.sites {
		if s.ended == nil {
			continue
		}
		eventually(g.t, "the same members", func() bool { return reflect.DeepEqual(s.node.Membership(), want) })
	}
	return want
}

// What may not happen: a write fails, or an acknowledged one is missing, while the group grows from one node to five
// and shrinks to one that was not there at the beginning.
func TestGrowAndShrink(t *testing.T) {
	g := newGroup(t, 1, func(c *Config) { c.TruncateBytes = 16 << 10 })
	g.leader()
	var mu sync.Mutex
	var acked []string
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	locked := func(f func()) { mu.Lock(); defer mu.Unlock(); f() }
	started := []*app{g.sites[0].app}
	apps := func() (all []*app) {
		locked(func() { all = slices.Clone(started) })
		return all
	}
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				text := text(w*1_000_000+i, 100)
				for done := false; !done && ctx.Err() == nil; {
					for _, a := range apps() {
						once, cancel := context.WithTimeout(ctx, 5*time.Second)
						err := a.put(once, text)
						cancel()
						if errors.Is(err, ErrNotLeader) || errors.Is(err, ErrDropped) {
							continue // certainly not made: another node
						}
						if done = true; err == nil {
							locked(func() { acked = append(acked, text) })
						} else if ctx.Err() == nil && !errors.Is(err, errUnknown) {
							t.Errorf("write failed: %v", err)
						}
						break
					}
				}
			}
		})
	}
	for range 4 {
		s := g.grow()
		locked(func() { started = append(started, s.app) })
	}
	if m := g.sameMembers(); len(m.Members) != 5 || m.learners() != 0 {
		t.Fatalf("members %+v, want five voters", m)
	}
	for range 2 {
		g.remove(g.leader())
	}
	g.remove(g.sites[slices.IndexFunc(g.sites, func(s *site) bool { return s.ended != nil && s != g.leader() })])
	g.remove(g.leader())
	before := 0
	locked(func() { before = len(acked) })
	eventually(t, "writes on the last node", func() bool { mu.Lock(); defer mu.Unlock(); return len(acked) > before+20 })
	stop()
	wg.Wait()
	last := g.leader()
	if m := last.node.Membership(); len(m.Members) != 1 || len(m.Removed) != 4 || last.id == 1 {
		t.Fatalf("%+v", m)
	}
	has := make(map[string]bool)
	for _, text := range last.app.texts() {
		has[text] = true
	}
	for _, text := range acked {
		if !has[text] {
			t.Fatalf("the acknowledged write %.20s is missing", text)
		}
	}
	t.Logf("%d writes", len(acked))
}

func TestChangesThatAreRefused(t *testing.T) {
	g := newGroup(t, 3, nil)
	leader := g.leader()
	g.everywhere(leader)
	ctx := soon(t)
	follower := g.follower(leader)
	if _, err := follower.node.AddMember(ctx, "h:1", false); !errors.Is(err, ErrNotLeader) {
		t.Errorf("on a follower: %v", err)
	}
	gone := g.grow()
	g.remove(gone)
	learner := g.admit(true) // never started
	leader = g.leader()
	follower = g.follower(leader)
	n := leader.node
	eventually(t, "the leader to hear of all", func() bool { _, err := n.AddMember(ctx, leader.addr, false); return errors.Is(err, ErrAddrExists) })
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"same address":            {second(n.AddMember(ctx, learner.addr, false)), ErrAddrExists},
		"second learner":          {second(n.AddMember(ctx, "h:1", true)), ErrTooManyLearners},
		"promote a stranger":      {n.PromoteMember(ctx, 99), ErrMemberNotFound},
		"promote a voter":         {n.PromoteMember(ctx, follower.id), ErrNotLearner},
		"promote an empty node":   {n.PromoteMember(ctx, learner.id), ErrLearnerBehind},
		"remove a stranger":       {n.RemoveMember(ctx, 99), ErrMemberNotFound},
		"remove a removed one":    {n.RemoveMember(ctx, gone.id), ErrMemberNotFound},
		"move a stranger":         {n.MoveMember(ctx, 99, "h:2"), ErrMemberNotFound},
		"move to another's place": {n.MoveMember(ctx, follower.id, leader.addr), ErrAddrExists},
		"id of a removed member":  {n.change(ctx, pb.Change_OPERATION_ADD, &Member{ID: gone.id, Addr: "h:3"}), ErrMemberExists},
		"id of a member":          {n.change(ctx, pb.Change_OPERATION_ADD, &Member{ID: follower.id, Addr: "h:3"}), ErrMemberExists},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	if err := n.RemoveMember(ctx, learner.id); err != nil {
		t.Errorf("remove the learner: %v", err)
	}
	g.sites = g.sites[:len(g.sites)-1]
	// With one of three away, nobody may join, and neither of the two others may leave.
	away := g.sites[slices.IndexFunc(g.sites, func(s *site) bool { return s.ended != nil && s != leader && s != follower })]
	g.isolate(away, true)
	since := time.Now()
	eventually(t, "the leader to miss a follower", func() bool { return time.Since(since) > 300*time.Millisecond })
	if _, err := n.AddMember(ctx, "h:4", false); !errors.Is(err, ErrUnhealthy) {
		t.Errorf("add one while one is away: %v", err)
	}
	if err := n.RemoveMember(ctx, follower.id); !errors.Is(err, ErrUnhealthy) {
		t.Errorf("remove one of the two that are left: %v", err)
	}
	if err := g.change(func(ctx context.Context, n *Node) error { return n.RemoveMember(ctx, away.id) }); err != nil {
		t.Errorf("remove the one that is away: %v", err)
	}
	away.removed = true
	g.isolate(away, false)
	last := newGroup(t, 1, nil).leader().node
	if err := last.RemoveMember(ctx, 1); !errors.Is(err, ErrNotEnoughStarted) {
		t.Errorf("remove the last: %v", err)
	}
}

func second[A any](_ A, err error) error { return err }

// What may not happen: a node that was removed while it could not hear it makes the others elect again.
func TestRemovedNodeIsToldAndDoesNotDisturb(t *testing.T) {
	g := newGroup(t, 3, nil)
	leader := g.leader()
	away := g.follower(leader)
	g.isolate(away, true)
	away.removed = true
	g.put("before")
	if err := g.change(func(ctx context.Context, n *Node) error { return n.RemoveMember(ctx, away.id) }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the removed node to miss its leader", func() bool { return away.node.removal.err() != nil || away.node.Status().Leader == 0 })
	term := g.leader().node.Status().Term
	g.isolate(away, false)
	eventually(t, "the removed node to be told", func() bool { return away.node.removal.err() != nil })
	if _, err := away.node.ReadIndex(soon(t)); !errors.Is(err, ErrRemoved) {
		t.Errorf("a removed node serves reads: %v", err)
	}
	g.put("after")
	if now := g.leader().node.Status().Term; now != term {
		t.Errorf("term %d, was %d", now, term)
	}
	g.stop(away)
	// Its log does not say that it was removed, so it starts, is told again, and stops by itself.
	g.tune = func(c *Config) { c.RemovalGrace = 50 * time.Millisecond }
	g.start(away)
	if err := <-away.ended; !errors.Is(err, ErrRemoved) {
		t.Fatal(err)
	}
	away.ended = nil
}

// The address book is where the data is: it outlives a crash at any point of the log, and the list in the
// configuration does not count any more.
func TestMembershipOutlivesCrashes(t *testing.T) {
	g := newGroup(t, 1, nil)
	g.put("x")
	g.sites[0].app.mu.Lock()
	g.sites[0].app.lazy = true // all changes below are in its log only
	g.sites[0].app.mu.Unlock()
	grow := func() *site {
		s := g.admit(true)
		founder, known := g.sites[0].app, g.leader().node.Membership().Index
		eventually(t, "the founder to apply the change", func() bool {
			founder.mu.Lock()
			defer founder.mu.Unlock()
			return founder.lastLocked() >= known
		})
		founder.flush() // so that it can be sent a copy
		g.join(s)
		g.promote(s)
		return s
	}
	joined, third := grow(), grow()
	if err := g.change(func(ctx context.Context, n *Node) error { return n.MoveMember(ctx, third.id, third.addr) }); err != nil {
		t.Fatal(err)
	}
	want := g.sameMembers()
	for round := range 2 {
		for _, s := range g.sites {
			g.kill(s)
		}
		g.tune = func(c *Config) {
			if c.NodeID == 1 {
				c.Members = append(c.Members, Member{ID: 77, Addr: "127.0.0.1:1"}) // a stale, wrong list
			}
		}
		for _, s := range g.sites {
			g.start(s)
		}
		g.put(fmt.Sprint("after crash ", round))
		if got := g.sameMembers(); !reflect.DeepEqual(got.Members, want.Members) {
			t.Fatalf("members are %+v, were %+v", got, want)
		}
	}
	if id, ok, err := ReadIdentity(joined.dir); err != nil || !ok || !id.Joined || id.NodeID != joined.id || id.Name != fmt.Sprint("n", joined.id) {
		// the name is given by the kit after the id is known
		t.Errorf("%+v %v %v", id, ok, err)
	}
}

// What may not happen: a node that was away while the group changed refuses the leader that joined meanwhile.
func TestNodeThatWasAwayMeetsNewMembers(t *testing.T) {
	g := newGroup(t, 1, nil)
	founder := g.leader()
	away := g.admit(true) // a learner keeps nobody from changing the group
	g.join(away)
	g.everywhere(founder)
	g.kill(away)
	fresh := g.admit(false)
	g.join(fresh)
	g.put("meanwhile")
	if err := g.change(func(ctx context.Context, n *Node) error {
		if n == fresh.node {
			return nil
		}
		return n.TransferLeadership(ctx, fresh.id)
	}); err != nil {
		t.Fatal(err)
	}
	g.start(away)
	g.put("with it")
	g.sameMembers()
}

func TestDiscoverRefusesStrangers(t *testing.T) {
	g := newGroup(t, 1, nil)
	g.put("x")
	for name, c := range map[string]struct {
		d     Discovery
		want  error
		words string
	}{
		"not added":   {Discovery{ClusterID: ourCluster, Addr: "h:1", Ask: []string{"127.0.0.1:1", g.sites[0].addr}}, ErrNotListed, "add this node with its address h:1 first"},
		"other group": {Discovery{ClusterID: 8, Addr: "h:1", Ask: []string{g.sites[0].addr}}, context.DeadlineExceeded, "wrong address or cluster name"},
		"nobody":      {Discovery{ClusterID: ourCluster, Addr: "h:1", Ask: []string{"127.0.0.1:1"}}, context.DeadlineExceeded, "127.0.0.1:1"},
	} {
		c.d.Timeout = 300 * time.Millisecond
		if _, _, err := Discover(t.Context(), c.d); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %v with %q", name, err, c.want, c.words)
		}
	}
}

// Either reader of the bytes skips what is the other's, so a node of the version before reads them.
func TestConfBytesAreReadByBoth(t *testing.T) {
	conf := raftpb.ConfState{Voters: []uint64{1, 2}, Learners: []uint64{3}, AutoLeave: true}
	m := &Membership{Index: 9, Removed: []uint64{8}, Members: []Member{
		{ID: 1, Addr: "a:1", Name: "n1", ClientURLs: []string{"http://a:2"}, Admin: "a:3", NATS: "a:4"}, {ID: 3, Addr: "c:1", Learner: true},
	}}
	b, err := encodeConf(&conf, m)
	if err != nil {
		t.Fatal(err)
	}
	var old raftpb.ConfState
	if err := old.Unmarshal(b); err != nil || !reflect.DeepEqual(old, conf) {
		t.Errorf("an older build reads %+v, %v", old, err)
	}
	if c, got, err := decodeConf(b); err != nil || !reflect.DeepEqual(got, m) || !reflect.DeepEqual(c, conf) {
		t.Errorf("%+v %+v %v", c, got, err)
	}
	bare, err := conf.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, got, err := decodeConf(bare); got != nil || err != nil {
		t.Errorf("from an older build: %+v, %v", got, err)
	}
}

// The entry with which Raft leaves a joint membership by itself has no words of ours.
func TestEntriesWithoutContext(t *testing.T) {
	cc, what, err := decodeChange(&raftpb.Entry{Type: raftpb.EntryConfChangeV2})
	if err != nil || what != nil || !cc.LeaveJoint() {
		t.Fatalf("%+v %v %v", cc, what, err)
	}
	m := newMembership(1, []Member{{ID: 1, Addr: "a:1"}})
	if n, err := m.next(5, what); err != nil || n.Index != 5 || len(n.Members) != 1 {
		t.Errorf("%+v %v", n, err)
	}
	if _, err := m.next(6, &pb.Change{Operation: 99, Member: &pb.Member{Id: 1}}); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "upgrade this node") {
		t.Errorf("a change of an unknown kind: %v", err)
	}
}

// What may not happen, whatever crashes and whoever is cut off while members come and go: an acknowledged write
// is missing or seen late by a read, a write is applied twice, or two nodes disagree who the members are.
func TestChurn(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	g := newGroup(t, 3, func(c *Config) { c.TruncateBytes = 16 << 10 })
	g.grown()
	var acked []string
	write := func(n int) {
		for range n {
			text := fmt.Sprintf("%d-%d", len(acked), r.Uint64())
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			if g.leader().app.put(ctx, text) == nil {
				acked = append(acked, text)
			}
			cancel()
		}
	}
	running := func() (all []*site) {
		for _, s := range g.sites {
			if s.ended != nil {
				all = append(all, s)
			}
		}
		return all
	}
	read := func() {
		s := running()[r.IntN(len(running()))]
		want := len(acked)
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		index, err := s.node.ReadIndex(ctx)
		if err != nil || s.node.WaitApplied(ctx, index) != nil {
			return
		}
		has := s.app.texts()
		for _, text := range acked[max(0, want-20):want] {
			if !slices.Contains(has, text) {
				t.Fatalf("a read on node %x misses the acknowledged write %s", s.id, text)
			}
		}
	}
	for range 12 {
		n := len(running())
		larger := n < 5 && (n <= 2 || r.IntN(2) == 0)
		if n >= 3 {
			disturb(g, r, running()[r.IntN(n)])
		}
		write(5)
		read()
		if larger {
			s := g.admit(true)
			g.join(s)
			if r.IntN(2) == 0 {
				g.kill(s) // as soon as it has begun
				g.start(s)
			}
			write(3)
			g.promote(s)
		} else {
			g.remove(running()[r.IntN(n)])
		}
		write(5)
		read()
	}
	g.sameMembers()
	for _, s := range running() {
		seen := make(map[string]bool)
		for _, text := range s.app.texts() {
			if seen[text] {
				t.Fatalf("node %x applied %s twice", s.id, text)
			}
			seen[text] = true
		}
		for _, text := range acked {
			if !seen[text] {
				t.Fatalf("node %x misses the acknowledged write %s", s.id, text)
			}
		}
	}
	t.Logf("%d acknowledged writes, %d members at the end", len(acked), len(running()))
}

// disturb lets something happen to a node that is over soon: a crash, a crash within a change of membership, or a
// cut of its network that heals while the next steps run.
func disturb(g *group, r *rand.Rand, victim *site) {
	switch r.IntN(4) {
	case 0:
		g.kill(victim)
		g.start(victim)
	case 1:
		leader := g.leader()
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(5))*time.Millisecond)
		_ = leader.node.MoveMember(ctx, victim.id, victim.addr) // its fate does not matter
		cancel()
		g.kill(leader)
		g.start(leader)
	case 2:
		var pairs [][2]uint64
		for _, o := range g.sites {
			pairs = append(pairs, [2]uint64{victim.id, o.id}, [2]uint64{o.id, victim.id})
		}
		set := func(cut bool) {
			g.mu.Lock()
			defer g.mu.Unlock()
			for _, p := range pairs {
				g.cut[p] = cut
			}
		}
		set(true)
		time.AfterFunc(time.Duration(r.IntN(300))*time.Millisecond, func() { set(false) })
	}
}
