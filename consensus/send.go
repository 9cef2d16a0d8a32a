package consensus

import (
	"slices"
	"time"

	"go.etcd.io/etcd/raft/v3"
	"go.etcd.io/etcd/raft/v3/raftpb"
)

// send hands messages to the transport, without those that tell their receiver nothing or may wait for others, and with what
// has waited.
func (l *loop) send(messages []raftpb.Message, st raft.BasicStatus) {
	if len(messages) == 0 {
		return
	}
	dropIncluded(messages)
	now := time.Now()
	switch {
	case st.LeadTransferee != raft.None: // who takes over must have all
		l.deliverEntries(now)
		l.thrift.forget()
	case st.RaftState == raft.StateLeader && slices.ContainsFunc(messages, hasEntries):
		l.thrift.rank(l.raft, &l.conf, l.cfg.NodeID)
	}
	for i := range messages {
		m := &messages[i]
		if m.To == raft.None {
			if isNews(m) {
				l.news.rode(now)
			}
			continue
		}
		if l.said.known(m, now) || l.thrift.join(m) || l.news.hold(m, now) {
			continue
		}
		if isBulk(m) {
			l.deliver(m.To, m, now)
			if l.thrift.hold(m, now) {
				continue
			}
		}
		if m.Type == raftpb.MsgReadIndexResp {
			l.deliver(m.To, nil, now) // the reader has to apply up to there
		}
		l.vouch(m, st.Term)
		l.transport.send(*m)
	}
}

func hasEntries(m raftpb.Message) bool { return isBulk(&m) && len(m.Entries) > 0 }

// deliver sends what is held for a peer, but for news of which next, which is about to go there, says the same.
func (l *loop) deliver(to uint64, next *raftpb.Message, now time.Time) {
	if m := l.thrift.take(to, now); m != nil {
		l.transport.send(*m)
	}
	if m, ok := l.news.take(to); ok && (next == nil || !includes(next, &m)) {
		l.transport.send(m)
	}
}

// deliverNews sends what no entries came for.
func (l *loop) deliverNews(now time.Time) {
	for len(l.news.held) > 0 {
		l.deliver(l.news.held[0].To, nil, now)
	}
	l.news.forget()
}

// deliverEntries sends what has waited for more entries.
func (l *loop) deliverEntries(now time.Time) {
	for _, f := range l.thrift.followers {
		l.deliver(f.id, nil, now)
	}
}

// dropIncluded takes away the receiver of the messages that say nothing which a later one does not say: a confirmation before
// another one, and the news of a commit index before entries. Each costs its receiver a turn.
func dropIncluded(messages []raftpb.Message) {
	var following []*raftpb.Message // of each kind and peer; few
	for i := len(messages) - 1; i >= 0; i-- {
		m := &messages[i]
		if m.Type != raftpb.MsgApp && m.Type != raftpb.MsgAppResp {
			continue
		}
		at := slices.IndexFunc(following, func(n *raftpb.Message) bool { return n.Type == m.Type && n.To == m.To })
		switch {
		case at < 0:
			following = append(following, m)
		case includes(following[at], m):
			m.To = raft.None
		default:
			following[at] = m
		}
	}
}

// includes says whether the next message of the same kind to the same peer says all that m does.
func includes(next, m *raftpb.Message) bool {
	if next.Term != m.Term || m.Reject || next.Reject {
		return false
	}
	if m.Type == raftpb.MsgAppResp {
		return next.Index >= m.Index
	}
	return len(m.Entries) == 0 && next.Index == m.Index && next.LogTerm == m.LogTerm && next.Commit >= m.Commit
}
