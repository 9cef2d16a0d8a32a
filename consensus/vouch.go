package consensus

import (
	"slices"
	"time"

	"go.etcd.io/etcd/raft/v3"
	"go.etcd.io/etcd/raft/v3/raftpb"
)

// A follower's request for a read index says in LogTerm, which Raft leaves empty there, in which term the follower was
// when it asked. Where leader and follower are a majority by themselves that is all that a leader has to hear before it
// answers, so it asks nobody: one round trip and two messages instead of two and six.
//
// Why it is safe: what was acknowledged before the read began and is not in the leader's log was committed in a later
// term, by a majority that had entered that term before. The follower had not when it asked, which was after the read
// began, and the leader has not yet. Two of three are missing in that majority. That the request was long on its way
// does no harm, because it vouches for nothing but the read that it asks for. Raft's own queue would let it vouch
// for those that others had asked for earlier, and which began later than it was sent; so it does not get there.
//
// A node of the version before doesn't look at LogTerm, and leaves it 0. Then Raft asks the others.

// vouch is called for each message before it is sent.
func (l *loop) vouch(m *raftpb.Message, term uint64) {
	if m.Type == raftpb.MsgReadIndex && m.From == l.cfg.NodeID { // not what a former leader passes on
		m.LogTerm = term
	}
}

// vouched answers a request for a read index if it tells the leader all that it has to know.
func (l *loop) vouched(m *raftpb.Message) bool {
	st := l.raft.BasicStatus()
	if st.RaftState != raft.StateLeader || m.LogTerm != st.Term || len(m.Entries) != 1 {
		return false
	}
	if l.ledTerm.Load() != st.Term { // it may not know yet what earlier leaders have committed
		return false
	}
	if !majority(&l.conf, l.cfg.NodeID, m.From) {
		return false
	}
	l.metrics.readsVouched.Inc()
	l.deliver(m.From, nil, time.Now()) // the follower has to apply up to there
	l.transport.send(raftpb.Message{
		Type: raftpb.MsgReadIndexResp, From: l.cfg.NodeID, To: m.From, Term: st.Term, Index: st.Commit, Entries: m.Entries,
	})
	return true
}

// majority says whether two nodes are enough to decide anything. Of a membership in change they are not, for simplicity.
func majority(conf *raftpb.ConfState, a, b uint64) bool {
	return a != b && len(conf.VotersOutgoing) == 0 && len(conf.Voters) <= 3 &&
		slices.Contains(conf.Voters, a) && slices.Contains(conf.Voters, b)
}
