package consensus

import (
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
)

// news keeps back appends without entries, with which a leader tells what is committed, while entries are likely to follow
// that tell the same. With a writer who waits for each write before the next, the news would cost as many messages and
// turns as the entries, and nobody waits for it: whoever wrote has been answered by the leader, and a
// linearizable read brings what it needs with it.
//
// Entries are likely when the ones before came within the delay of a commit. So what is written now and then
// is known to the followers at once, and in a stream of writes they hear of each with the next one; of the last one, after
// the delay. All fields are used by the loop's goroutine only.
type news struct {
	delay time.Duration
	timer *time.Timer // runs while something is held
	told  time.Time   // when there was news last
	brisk bool        // entries came soon after it
	held  []raftpb.Message
}

func newNews(delay time.Duration) news {
	n := news{delay: delay, timer: time.NewTimer(time.Hour)}
	n.timer.Stop()
	return n
}

// isNews says whether a message tells a commit index and at most that.
func isNews(m *raftpb.Message) bool { return m.Type == raftpb.MsgApp && len(m.Entries) == 0 }

// proposed is called when an entry is.
func (n *news) proposed(now time.Time) { n.brisk = now.Sub(n.told) < n.delay }

// rode is called when news was left out because a later append of the same turn tells it.
func (n *news) rode(now time.Time) { n.told, n.brisk = now, true }

// hold keeps a message back instead of an earlier one to the same peer, unless it must go at once.
func (n *news) hold(m *raftpb.Message, now time.Time) bool {
	if !isNews(m) {
		return false
	}
	n.told = now
	if !n.brisk {
		return false
	}
	n.drop(m.To)
	if len(n.held) == 0 {
		n.timer.Reset(n.delay)
	}
	n.held = append(n.held, *m)
	return true
}

// take returns what was held for a peer, and holds it no longer.
func (n *news) take(to uint64) (m raftpb.Message, ok bool) {
	for i := range n.held {
		if n.held[i].To == to {
			m = n.held[i]
			n.drop(to)
			return m, true
		}
	}
	return m, false
}

func (n *news) drop(to uint64) {
	kept := n.held[:0]
	for _, m := range n.held {
		if m.To != to {
			kept = append(kept, m)
		}
	}
	n.held = kept
}

// late receives when something has been held for the delay.
func (n *news) late() <-chan time.Time {
	if len(n.held) == 0 {
		return nil
	}
	return n.timer.C
}

// forget is for a leader that is none any more.
func (n *news) forget() { n.held, n.brisk = n.held[:0], false }
