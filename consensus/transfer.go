package consensus

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/raft/v3"
	"go.etcd.io/etcd/raft/v3/tracker"
)

// transfer is a hand-over of leadership that somebody waits for.
type transfer struct {
	to   uint64
	done chan error // capacity 1
}

// TransferLeadership hands the leadership to another member and returns when that leads. to 0 means the one
// that lags least. While it is under way no proposals are taken. Raft gives it up after an election timeout.
func (n *Node) TransferLeadership(ctx context.Context, to uint64) error {
	t := &transfer{to: to, done: make(chan error, 1)}
	select {
	case n.asked <- t:
	case <-n.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-t.done:
		return err
	case <-n.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// beginTransfer starts a hand-over, or answers that it can't be.
func (l *loop) beginTransfer(t *transfer) {
	st := l.raft.BasicStatus()
	if t.to == 0 {
		t.to = l.successor()
	}
	switch {
	case st.RaftState != raft.StateLeader:
		t.done <- ErrNotLeader
	case t.to == l.cfg.NodeID:
		t.done <- nil
	case t.to == 0:
		t.done <- fmt.Errorf("%w: no other member is reachable", ErrTransfer)
	case !l.isVoter(t.to):
		t.done <- fmt.Errorf("%w: node %x is not a voting member", ErrTransfer, t.to)
	case l.transfer != nil:
		t.done <- fmt.Errorf("%w: another transfer is under way", ErrTransfer)
	default:
		l.transfer = t
		l.log.Info("handing over the leadership", "to", t.to)
		l.raft.TransferLeader(t.to)
	}
}

// watchTransfer ends a hand-over that has succeeded or failed.
func (l *loop) watchTransfer() {
	if l.transfer == nil {
		return
	}
	st := l.raft.BasicStatus()
	switch {
	case st.Lead == l.transfer.to:
		l.endTransfer(nil)
	case st.RaftState == raft.StateLeader && st.LeadTransferee == raft.None:
		l.endTransfer(fmt.Errorf("%w: node %x did not take over in time", ErrTransfer, l.transfer.to))
	case st.RaftState != raft.StateLeader && st.Lead != raft.None:
		l.endTransfer(fmt.Errorf("%w: node %x leads now", ErrTransfer, st.Lead))
	}
}

func (l *loop) endTransfer(err error) {
	if l.transfer != nil {
		l.transfer.done <- err
		l.transfer = nil
	}
}

// beginStop starts a clean stop. It reports whether there is something to wait for.
func (l *loop) beginStop() bool {
	l.stopping = true
	if l.raft.BasicStatus().RaftState != raft.StateLeader {
		return false
	}
	to := l.successor()
	if to == 0 {
		return false
	}
	l.log.Info("stopping; handing over the leadership", "to", to)
	l.stopTerm = l.raft.BasicStatus().Term
	l.raft.TransferLeader(to)
	return true
}

// handedOver says whether there is nothing more to wait for: another leader is known, or the successor did not
// take over within an election timeout, or nobody is there at all. A node that lost the leadership to a new term
// stays until that has its leader: in a group of two its vote is needed.
func (l *loop) handedOver() bool {
	st := l.raft.BasicStatus()
	if st.RaftState == raft.StateLeader {
		return st.LeadTransferee == raft.None
	}
	return st.Lead != raft.None || st.Term == l.stopTerm
}

// successor is the connected voter that lags least, 0 if there is none.
func (l *loop) successor() uint64 {
	best, match := uint64(0), uint64(0)
	l.raft.WithProgress(func(id uint64, typ raft.ProgressType, pr tracker.Progress) {
		if id != l.cfg.NodeID && typ == raft.ProgressTypePeer && pr.Match >= match && l.isActive(id) {
			best, match = id, pr.Match
		}
	})
	return best
}

func (l *loop) isVoter(id uint64) bool {
	for _, v := range l.conf.Voters {
		if v == id {
			return true
		}
	}
	return false
}
