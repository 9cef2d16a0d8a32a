package consensus

import (
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
)

// confirmations keeps a follower from saying again what the leader knows. Raft answers each append with the end of the
// log, also one without entries, of which most only tell what has been committed. The answer to such a one says the
// same as the one before, and costs the leader a turn.
//
// A leader to whom the first one did not come, because a connection broke, asks again with an append without
// entries after each heartbeat. So a confirmation is held back only for as long as a heartbeat takes to come
// since the same was said, and never when there were entries, with which a leader may be finding out how far this
// node is. Nothing is said that Raft would not say.
type confirmations struct {
	interval time.Duration
	last     confirmation
	at       time.Time // when it was said
	entries  bool      // came since then
}

type confirmation struct{ to, term, index uint64 }

// received is called for each message before it is stepped.
func (c *confirmations) received(m *raftpb.Message) {
	if m.Type == raftpb.MsgApp && len(m.Entries) > 0 {
		c.entries = true
	}
}

// known says whether a message that is about to be sent tells its receiver nothing.
func (c *confirmations) known(m *raftpb.Message, now time.Time) bool {
	if m.Type != raftpb.MsgAppResp {
		return false
	}
	if m.Reject {
		*c = confirmations{interval: c.interval}
		return false
	}
	said := confirmation{m.To, m.Term, m.Index}
	if said == c.last && !c.entries && now.Sub(c.at) < c.interval {
		return true
	}
	c.last, c.at, c.entries = said, now, false
	return false
}
