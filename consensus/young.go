package consensus

import (
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/raft/v3"
	"go.etcd.io/etcd/raft/v3/raftpb"
)

// patience is how long a new group's nodes wait for each other before they say so.
const patience = 5 * time.Second

// young is what holds a node back whose log is empty. It may be new, or in the place of one that lost its disk, and had confirmed
// what the others may not have. So it votes for nobody who has a log until it has what its group had committed when a leader first
// wrote to it. Nodes whose logs are all empty found the group, once all of them are there: of three of which two lost their disks
// these two are a majority, and would found a second one beside the data of the third.
type young struct {
	is     bool
	self   uint64
	target uint64 // index that a leader told to be committed; 0 before
	roll   *roll
	book   *book // for members' names
	log    *slog.Logger

	// What has been said of it, once each.
	voteless bool      // a candidate got no vote
	alone    bool      // members are missing
	since    time.Time // when they were first found missing
	beside   uint64    // member that has a log
}

// abstains says whether a message is a request for a vote that must go unanswered.
func (y *young) abstains(m *raftpb.Message, r *raft.RawNode, voters []uint64) bool {
	if !y.is || m.Type != raftpb.MsgVote && m.Type != raftpb.MsgPreVote {
		return false
	}
	if y.grow(r); !y.is { // a leader that hands over before its next tick gives its vote, too
		return false
	}
	if m.Index <= founding { // a founder, who has heard all others by its own account
		_, written := y.roll.call(voters, y.self)
		return written != 0
	}
	if !y.voteless {
		y.voteless = true
		y.log.Warn("no vote for a node that has a log, because this one's is empty: it votes once a leader has written to it; if its disk was lost, "+replaceNode, "candidate", y.name(m.From))
	}
	return true
}

// waits says whether the node may not become a candidate: it founds no group without having heard all members, nor beside one.
func (y *young) waits(voters []uint64) bool {
	if !y.is || y.target > 0 {
		return false
	}
	missing, written := y.roll.call(voters, y.self)
	switch {
	case written != 0:
		y.sayBeside(written)
	case len(missing) > 0:
		y.sayAlone(missing)
	default:
		return false
	}
	return true
}

func (y *young) sayBeside(written uint64) {
	if y.beside == written {
		return
	}
	y.beside = written
	y.log.Warn("this node's log is empty and another member's is not: this one founds no group, and waits for a leader; if most members lost their disks, "+
		"go on with one that is left (--force-new-cluster there)", "peer", y.name(written))
}

func (y *young) sayAlone(missing []uint64) {
	if y.since.IsZero() {
		y.since = time.Now()
	}
	if y.alone || time.Since(y.since) < patience {
		return
	}
	y.alone = true
	names := make([]string, len(missing))
	for i, id := range missing {
		names[i] = y.name(id)
	}
	y.log.Warn("a new group has its first leader once all of its members have been started: some have not been heard", "missing", names)
}

// name is what an operator knows a member by.
func (y *young) name(id uint64) string {
	m, is := y.book.get().Member(id)
	if !is {
		return fmt.Sprintf("%016x", id)
	}
	return m.Name + " at " + m.Addr
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
