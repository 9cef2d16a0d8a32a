package consensus

import (
	"testing"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
)

func TestConfirmationsAreNotRepeated(t *testing.T) {
	const interval = 100 * time.Millisecond
	type step struct {
		after   time.Duration
		entries bool // came before
		said    raftpb.Message
		known   bool
	}
	ack := func(to, term, index uint64) raftpb.Message {
		return raftpb.Message{Type: raftpb.MsgAppResp, To: to, Term: term, Index: index}
	}
	refusal := raftpb.Message{Type: raftpb.MsgAppResp, To: 1, Term: 3, Index: 5, Reject: true}
	for name, steps := range map[string][]step{
		"after news of a commit": {{0, true, ack(1, 3, 5), false}, {time.Millisecond, false, ack(1, 3, 5), true}, {time.Millisecond, false, ack(1, 3, 5), true}},
		"more entries":           {{0, true, ack(1, 3, 5), false}, {time.Millisecond, true, ack(1, 3, 6), false}},
		"the same entries again": {{0, true, ack(1, 3, 5), false}, {time.Millisecond, true, ack(1, 3, 5), false}},
		"a leader that asks later because it has not heard": {
			{0, true, ack(1, 3, 5), false}, {interval - 1, false, ack(1, 3, 5), true}, {1, false, ack(1, 3, 5), false}, {1, false, ack(1, 3, 5), true},
		},
		"another leader":      {{0, true, ack(1, 3, 5), false}, {0, false, ack(2, 4, 5), false}, {0, false, ack(1, 3, 5), false}},
		"another term":        {{0, true, ack(1, 3, 5), false}, {0, false, ack(1, 4, 5), false}},
		"a snapshot":          {{0, true, ack(1, 3, 5), false}, {0, false, ack(1, 3, 90), false}},
		"a refusal":           {{0, true, ack(1, 3, 5), false}, {0, false, refusal, false}, {0, false, refusal, false}, {0, false, ack(1, 3, 5), false}},
		"other messages":      {{0, false, raftpb.Message{Type: raftpb.MsgHeartbeatResp, To: 1}, false}, {0, false, raftpb.Message{Type: raftpb.MsgHeartbeatResp, To: 1}, false}},
		"nothing said so far": {{0, false, raftpb.Message{Type: raftpb.MsgAppResp}, false}},
	} {
		c, now := confirmations{interval: interval}, time.Now()
		for i, s := range steps {
			now = now.Add(s.after)
			if s.entries {
				c.received(&raftpb.Message{Type: raftpb.MsgApp, Entries: make([]raftpb.Entry, 1)})
			}
			c.received(&raftpb.Message{Type: raftpb.MsgApp})
			if got := c.known(&s.said, now); got != s.known {
				t.Errorf("%s: message %d is known to its receiver: %v, want %v", name, i, got, s.known)
			}
		}
	}
}
