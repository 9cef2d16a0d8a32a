package consensus

import (
	"strconv"
	"testing"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
)

func TestNewsWaitsWhileEntriesFollow(t *testing.T) {
	const delay = time.Hour
	news := func(to, commit uint64) *raftpb.Message {
		return &raftpb.Message{Type: raftpb.MsgApp, To: to, Term: 3, Index: 5, Commit: commit}
	}
	n, now := newNews(delay), time.Now()
	defer n.timer.Stop()
	n.proposed(now)
	if n.hold(news(2, 5), now) {
		t.Error("the news of the first entry is held")
	}
	n.proposed(now.Add(delay))
	if now = now.Add(delay); n.hold(news(2, 6), now) {
		t.Error("news is held where writes are rare")
	}
	n.proposed(now.Add(delay - 1))
	for _, m := range []*raftpb.Message{
		{Type: raftpb.MsgApp, To: 2, Entries: make([]raftpb.Entry, 1)}, {Type: raftpb.MsgHeartbeat, To: 2}, {Type: raftpb.MsgAppResp, To: 2},
	} {
		if n.hold(m, now) {
			t.Errorf("%s is held", m.Type)
		}
	}
	if n.late() != nil {
		t.Error("nothing is held, and it is late")
	}
	for _, m := range []*raftpb.Message{news(2, 7), news(3, 7), news(2, 8)} {
		if !n.hold(m, now) {
			t.Errorf("the news of index %d is sent at once in a stream of writes", m.Commit)
		}
	}
	if n.late() == nil {
		t.Error("news is held for good")
	}
	if m, ok := n.take(2); !ok || m.Commit != 8 {
		t.Errorf("held is %v, want the newer of two", m)
	}
	if m, ok := n.take(2); ok {
		t.Errorf("taken twice: %v", m)
	}
	if m, ok := n.take(3); !ok || m.Commit != 7 {
		t.Errorf("held is %v, want what is for node 3", m)
	}
	n.hold(news(2, 9), now)
	n.proposed(now.Add(delay))
	n.rode(now.Add(delay))
	if !n.hold(news(2, 10), now.Add(delay)) {
		t.Error("news is sent at once after entries that came in one turn with the news before them")
	}
	n.forget()
	if _, ok := n.take(2); ok || n.hold(news(2, 9), now) {
		t.Error("something is left of a term that is over")
	}
}

// A stream of writes costs each follower its entries and its answers, and the followers hear of the last one too.
func TestNewsGoesWithTheNextEntry(t *testing.T) {
	g := newGroup(t, 3, func(c *Config) { c.TickInterval, c.MaxNewsDelay = 100*time.Millisecond, 500*time.Millisecond })
	leader := g.leader()
	const writes = 200
	before := count(t, leader.node.metrics.sent)
	for i := range writes {
		g.put(strconv.Itoa(i))
	}
	sent := count(t, leader.node.metrics.sent) - before
	if sent > 3*writes {
		t.Errorf("%.0f messages for %d writes, want two each", sent, writes)
	}
	g.everywhere(leader)
}
