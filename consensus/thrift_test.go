package consensus

import (
	"context"
	"strconv"
	"testing"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
)

// entries is an append of so many entries behind an index.
func entries(to, behind uint64, n int, commit uint64) *raftpb.Message {
	m := &raftpb.Message{Type: raftpb.MsgApp, To: to, Term: 3, LogTerm: 3, Index: behind, Commit: commit}
	for i := range n {
		m.Entries = append(m.Entries, raftpb.Entry{Term: 3, Index: behind + uint64(i) + 1})
	}
	return m
}

func TestThriftHoldsWhatFollows(t *testing.T) {
	const delay = time.Hour
	th, now := newThrift(delay), time.Now()
	defer th.timer.Stop()
	th.followers = []follower{{id: 2, quick: true}, {id: 3}}
	if th.hold(entries(2, 10, 1, 9), now) || th.hold(entries(3, 10, 1, 9), now) {
		t.Error("the first entry is held")
	}
	if now = now.Add(delay - 1); th.hold(entries(2, 11, 1, 10), now) {
		t.Error("an entry is held that a commit needs")
	}
	if th.late() != nil {
		t.Error("nothing is held, and it is late")
	}
	raftsOwn := entries(3, 11, 3, 10)
	raftsOwn.Entries[1].Data = []byte("its own")
	first := *raftsOwn
	first.Entries = first.Entries[:1]
	if !th.hold(&first, now) || th.late() == nil {
		t.Error("in a stream of entries each is sent to a spare follower")
	}
	for _, m := range []*raftpb.Message{entries(3, 12, 1, 11), entries(3, 13, 0, 13), entries(3, 13, 1, 12)} {
		if !th.join(m) {
			t.Errorf("%v does not join the one before it", m)
		}
	}
	other := entries(3, 14, 1, 13)
	other.Term = 4
	large := entries(3, 14, 1, 13)
	large.Entries[0].Data = make([]byte, heldBytes)
	for _, m := range []*raftpb.Message{
		other, large, entries(3, 15, 1, 13), entries(3, 13, 1, 13), entries(2, 14, 1, 13), {Type: raftpb.MsgHeartbeat, To: 3, Term: 3},
	} {
		if th.join(m) {
			t.Errorf("%v joins another one", m)
		}
	}
	m := th.take(3, now)
	if m == nil || m.Index != 11 || len(m.Entries) != 3 || m.Entries[2].Index != 14 || m.Commit != 13 {
		t.Errorf("held is %v, want three entries behind index 11", m)
	}
	if string(raftsOwn.Entries[1].Data) != "its own" {
		t.Error("Raft's own entries were written over")
	}
	if th.take(3, now) != nil || th.join(entries(3, 14, 1, 13)) || th.late() != nil {
		t.Error("something is left of what was taken")
	}
	if large.To = 3; th.hold(large, now) || th.hold(entries(3, 15, 0, 14), now) || th.hold(entries(4, 15, 1, 14), now) {
		t.Error("held is what is too large, tells only a commit or is for a stranger")
	}
	if !th.hold(entries(3, 15, 1, 14), now) || th.hold(entries(3, 15, 1, 14), now.Add(delay)) {
		t.Error("the delay does not begin when entries were sent")
	}
}

func TestThriftChooses(t *testing.T) {
	th := thrift{followers: []follower{{id: 2}, {id: 3}, {id: 4}, {id: 5}}}
	for _, c := range []struct {
		what        string
		match       map[uint64]uint64
		spare       int
		quick, rest [2]uint64
	}{
		{"nobody has anything", nil, 2, [2]uint64{2, 3}, [2]uint64{4, 5}},
		{"two have confirmed more", map[uint64]uint64{2: 7, 3: 6, 4: 8, 5: 8}, 2, [2]uint64{4, 5}, [2]uint64{2, 3}},
		{"all have the same", map[uint64]uint64{2: 9, 3: 9, 4: 9, 5: 9}, 2, [2]uint64{4, 5}, [2]uint64{2, 3}},
		{"one is behind", map[uint64]uint64{2: 10, 3: 10, 4: 10, 5: 9}, 2, [2]uint64{4, 2}, [2]uint64{3, 5}},
	} {
		for i := range th.followers {
			th.followers[i].match = c.match[th.followers[i].id]
		}
		th.choose(c.spare)
		for i, id := range append(c.quick[:], c.rest[:]...) {
			if f := th.follower(id); f.quick != (i < 2) {
				t.Errorf("%s: follower %d is quick: %v", c.what, id, f.quick)
			}
		}
	}
	th.choose(0)
	for _, f := range th.followers {
		if !f.quick {
			t.Errorf("follower %d is spare, and none may be", f.id)
		}
	}
}

// spare is a follower that is spare in a stream of writes: one that has not the write before the last.
func (g *group) spare(leader *site) *site {
	g.t.Helper()
	var found *site
	eventually(g.t, "a follower to be spare", func() bool {
		want := leader.node.Status().Commit
		g.put("before " + strconv.FormatInt(time.Now().UnixNano(), 36))
		for _, s := range g.sites {
			if s != leader && s.node.Status().LastIndex < want {
				found = s
			}
		}
		return found != nil
	})
	return found
}

// A stream of writes is sent to one of two followers, and to the other one now and then.
func TestSpareFollowerIsSentLess(t *testing.T) {
	g := newGroup(t, 3, func(c *Config) {
		c.TickInterval, c.MaxNewsDelay, c.MaxSpareDelay = 100*time.Millisecond, time.Second, 200*time.Millisecond
	})
	g.grown()
	leader := g.leader()
	const writes = 300
	before, start := count(t, leader.node.metrics.sent), time.Now()
	for i := range writes {
		g.put(strconv.Itoa(i))
	}
	sent := count(t, leader.node.metrics.sent) - before
	if most := 1.2*writes + 40*time.Since(start).Seconds(); sent > most { // the other one's, and heartbeats
		t.Errorf("%.0f messages for %d writes, want at most %.0f", sent, writes, most)
	}
	g.everywhere(leader) // with nothing written behind
}

// When the quick follower is gone, the next write waits for the delay, and the one that answers is quick from then on.
func TestQuickFollowerIsLost(t *testing.T) {
	const delay = 400 * time.Millisecond
	g := newGroup(t, 3, func(c *Config) { c.TickInterval, c.MaxSpareDelay = 50*time.Millisecond, delay })
	g.grown()
	leader := g.leader()
	spare := g.spare(leader)
	for _, s := range g.sites {
		if s != leader && s != spare {
			g.isolate(s, true)
			defer g.isolate(s, false)
		}
	}
	const writes = 20
	start := time.Now()
	for i := range writes {
		g.put(strconv.Itoa(i))
	}
	if took := time.Since(start); took > writes*delay/2 {
		t.Errorf("%d writes took %s without the quick follower, each waits for the delay of %s", writes, took, delay)
	}
}

// Whoever reads at a spare follower, or hands over to it, does not wait for the delay.
func TestSpareFollowerIsSentWhatItNeeds(t *testing.T) {
	for _, nodes := range []int{3, 5} {
		t.Run(strconv.Itoa(nodes), func(t *testing.T) {
			g := newGroup(t, nodes, func(c *Config) { c.TickInterval, c.MaxSpareDelay = 50*time.Millisecond, time.Hour })
			g.grown()
			leader := g.leader()
			spare := g.spare(leader)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			want := leader.node.Status().Commit
			index, err := spare.node.ReadIndex(ctx)
			if err == nil {
				err = spare.node.WaitApplied(ctx, index)
			}
			if err != nil || index < want {
				t.Fatalf("read index %d, committed are %d: %v", index, want, err)
			}
			spare = g.spare(leader)
			if err := leader.node.TransferLeadership(ctx, spare.id); err != nil {
				t.Fatal(err)
			}
		})
	}
}
