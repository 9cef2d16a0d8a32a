package consensus

import (
	"log/slog"

	"go.etcd.io/etcd/raft/v3"
	"go.etcd.io/etcd/raft/v3/raftpb"
)

// young is what holds a node back that began with an empty log. It may be new, or in the place of one that lost its disk, and
// had confirmed what the others may not have. So it votes for nobody who has a log until it has what its group had committed
// when a leader first wrote to it. Nodes whose logs are all empty found the group.
type young struct {
	is     bool
	target uint64 // index that a leader told to be committed; 0 before
	said   bool
	log    *slog.Logger
}

// abstains says whether a message is a request for a vote that must go unanswered.
func (y *young) abstains(m *raftpb.Message, r *raft.RawNode) bool {
	if !y.is || m.Type != raftpb.MsgVote && m.Type != raftpb.MsgPreVote || m.Index <= founding {
		return false
	}
	if y.grow(r); !y.is { // a leader that hands over before its next tick gives its vote, too
		return false
	}
	if !y.said {
		y.said = true
		y.log.Warn("no vote for a node that has a log, because this one's is empty: it votes once a leader has written to it; if its disk was lost, "+replaceNode, "candidate", m.From)
	}
	return true
}

// written takes note of the first message of a leader with entries, or the want of them.
func (y *young) written(m *raftpb.Message) {
	if y.is && y.target == 0 && (m.Type == raftpb.MsgApp || m.Type == raftpb.MsgSnap) {
		y.target = max(m.Commit, m.Snapshot.Metadata.Index, founding)
	}
}

// grow looks whether the node has come far enough: it leads, which a majority let it, or it has what was committed.
func (y *young) grow(r *raft.RawNode) {
	if !y.is {
		return
	}
	st := r.BasicStatus()
	y.is = st.RaftState != raft.StateLeader && (y.target == 0 || st.Commit < y.target)
}
