package consensus

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/raft/v3"
	"go.etcd.io/etcd/raft/v3/raftpb"
	"go.etcd.io/etcd/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"geogate/consensus/pb"
)

// change is a change of membership that somebody waits for.
type change struct {
	ctx  context.Context
	what *pb.Change
	done chan error // capacity 1
}

// errHandOver asks for the leadership to be given away before this node is removed.
var errHandOver = errors.New("consensus: the leader can't remove itself while it leads")

// AddMember lets a node join that will be reached at addr, and returns it with the id that it was given. A voter
// counts for the majority from now on, before it has started; a learner does not, and is promoted later. Like
// all changes it works on the leader, is made once those before it are, and returns when it is committed.
func (n *Node) AddMember(ctx context.Context, addr string, learner bool) (Member, error) {
	m := Member{ID: random(), Addr: addr, Learner: learner}
	return m, n.change(ctx, pb.Change_OPERATION_ADD, &m)
}

// PromoteMember makes a voter of a learner that has caught up.
func (n *Node) PromoteMember(ctx context.Context, id uint64) error {
	return n.change(ctx, pb.Change_OPERATION_PROMOTE, &Member{ID: id})
}

// MoveMember changes the address at which the others reach a member.
func (n *Node) MoveMember(ctx context.Context, id uint64, addr string) error {
	return n.change(ctx, pb.Change_OPERATION_MOVE, &Member{ID: id, Addr: addr})
}

// RemoveMember takes a member out of the group for good; its node is told and stops. A leader that is to remove
// itself hands over first and answers ErrNotLeader: ask again where the leadership went.
func (n *Node) RemoveMember(ctx context.Context, id uint64) error {
	err := n.change(ctx, pb.Change_OPERATION_REMOVE, &Member{ID: id})
	if !errors.Is(err, errHandOver) {
		return err
	}
	if err := n.TransferLeadership(ctx, 0); err != nil && !errors.Is(err, ErrNotLeader) {
		return fmt.Errorf("node %x leads, and is to be removed: %w", id, err)
	}
	return fmt.Errorf("%w any more: it handed over because it is to be removed", ErrNotLeader)
}

func (n *Node) change(ctx context.Context, op pb.Change_Operation, m *Member) error {
	c := &change{ctx: ctx, what: &pb.Change{Operation: op, Member: memberToProto(m), Nonce: random()}, done: make(chan error, 1)}
	select {
	case n.changes <- c:
	case <-n.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-c.done:
		return err
	case <-n.stopped:
		return ErrUncertain
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUncertain, ctx.Err())
	}
}

// random is a number that is not zero.
func random() uint64 {
	var b [8]byte
	for {
		rand.Read(b[:]) //nolint:errcheck // documented never to fail
		if v := binary.BigEndian.Uint64(b[:]); v != 0 {
			return v
		}
	}
}

// changer is the loop's part of changing the membership. Raft takes one change at a time and throws away what
// comes earlier, so a change waits here until Raft has applied the one before.
type changer struct {
	waiting []*change
	current *change // proposed; nil when nobody waits for it
	index   uint64  // of the change proposed last by this node, or above it
}

// enqueue takes a change in.
func (l *loop) enqueue(c *change) {
	if len(l.changer.waiting) >= l.cfg.MaxWaitingChanges {
		c.done <- fmt.Errorf("%w: %d changes of membership wait already", ErrOverloaded, len(l.changer.waiting))
		return
	}
	l.changer.waiting = append(l.changer.waiting, c)
}

// reconfigure proposes the next change if its time has come.
func (l *loop) reconfigure() {
	q := &l.changer
	if q.current == nil && len(q.waiting) == 0 {
		return
	}
	st := l.raft.BasicStatus()
	if st.RaftState != raft.StateLeader {
		l.failChanges()
		return
	}
	if q.current != nil && q.index <= st.Applied {
		q.current.done <- fmt.Errorf("%w: the change of membership gave way to another one", ErrDropped)
		q.current = nil
	}
	// Raft takes a leader's first change once that has applied what it found in its log.
	for q.current == nil && len(q.waiting) > 0 && l.ledTerm.Load() == st.Term && q.index <= st.Applied &&
		len(l.conf.VotersOutgoing) == 0 && st.LeadTransferee == raft.None && !l.stopping {
		c := q.waiting[0]
		q.waiting = q.waiting[1:]
		if c.ctx.Err() != nil {
			c.done <- c.ctx.Err()
			continue
		}
		if l.isKnown(c.what) {
			c.done <- nil
		} else if err := l.proposeChange(c); err != nil {
			c.done <- err
		}
	}
}

// isKnown says that a member says nothing new, as when an answer to it was late.
func (l *loop) isKnown(c *pb.Change) bool {
	said := memberFromProto(c.Member)
	m, ok := l.book.get().Member(said.ID)
	return ok && c.Operation == pb.Change_OPERATION_PUBLISH && m.saysTheSame(&said)
}

func (l *loop) proposeChange(c *change) error {
	if err := l.permit(c.what); err != nil {
		return err
	}
	b, err := proto.Marshal(c.what)
	if err != nil {
		return fmt.Errorf("encode change of membership: %w", err)
	}
	cc := raftpb.ConfChangeV2{Context: b, Changes: []raftpb.ConfChangeSingle{{Type: raftType(c.what), NodeID: c.what.Member.Id}}}
	if err := l.raft.ProposeConfChange(cc); err != nil {
		return fmt.Errorf("%w: %w", ErrDropped, err)
	}
	l.changer.current = c
	l.raft.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if id == l.cfg.NodeID {
			l.changer.index = pr.Match // the leader's own is the end of its log
		}
	})
	return nil
}

// raftType is a change in Raft's words.
func raftType(c *pb.Change) raftpb.ConfChangeType {
	switch {
	case c.Operation == pb.Change_OPERATION_ADD && c.Member.GetLearner():
		return raftpb.ConfChangeAddLearnerNode
	case c.Operation == pb.Change_OPERATION_ADD, c.Operation == pb.Change_OPERATION_PROMOTE:
		return raftpb.ConfChangeAddNode
	case c.Operation == pb.Change_OPERATION_REMOVE:
		return raftpb.ConfChangeRemoveNode
	}
	return raftpb.ConfChangeUpdateNode
}

// failChanges answers all who wait on a node that does not lead any more.
func (l *loop) failChanges() {
	q := &l.changer
	if q.current != nil {
		q.current.done <- fmt.Errorf("%w: this node ceased to lead", ErrUncertain)
	}
	for _, c := range q.waiting {
		c.done <- ErrNotLeader
	}
	q.current, q.waiting = nil, nil
}

// change applies a committed change of membership to Raft and the transport, at once and before any message of
// this Ready that waits for the disk. Raft needs only that it is committed; the state machine learns of it in
// its turn.
func (l *loop) change(e *raftpb.Entry) error {
	cc, what, err := decodeChange(e)
	if err == nil {
		err = checkChange(&cc, what)
	}
	if err != nil {
		return fmt.Errorf("%w: membership change at index %d: %w", ErrBroken, e.Index, err)
	}
	book := l.book.get()
	next, err := book.next(e.Index, what)
	if err != nil {
		return err
	}
	l.conf = *l.raft.ApplyConfChange(cc)
	conf, err := encodeConf(&l.conf, next)
	if err != nil {
		return fmt.Errorf("%w: membership at index %d: %w", ErrBroken, e.Index, err)
	}
	l.queue.add(task{conf: &confChange{index: e.Index, conf: conf}})
	l.adopt(next)
	if what != nil {
		l.metrics.changes.WithLabelValues(operationName(what.Operation)).Inc()
		l.log.Info("membership changed", "change", operationName(what.Operation), "id", fmt.Sprintf("%016x", what.Member.GetId()),
			"index", e.Index, "voters", len(l.conf.Voters), "learners", len(l.conf.Learners))
		if c := l.changer.current; c != nil && c.what.Nonce == what.Nonce {
			c.done <- nil
			l.changer.current = nil
		}
	}
	return nil
}

// adopt makes a membership the one that the transport, readers and this node itself follow.
func (l *loop) adopt(m *Membership) {
	l.book.set(m)
	l.transport.follow(m)
	if m.WasRemoved(l.cfg.NodeID) {
		l.removal.tell("the log says so")
	}
}

func decodeChange(e *raftpb.Entry) (cc raftpb.ConfChangeV2, what *pb.Change, err error) {
	if e.Type == raftpb.EntryConfChange {
		var v1 raftpb.ConfChange
		if err := v1.Unmarshal(e.Data); err != nil {
			return cc, nil, err
		}
		cc = v1.AsV2()
	} else if err := cc.Unmarshal(e.Data); err != nil {
		return cc, nil, err
	}
	if len(cc.Context) == 0 {
		return cc, nil, nil
	}
	what = &pb.Change{}
	return cc, what, proto.Unmarshal(cc.Context, what)
}

// checkChange refuses an entry of which Raft and the address book would make different members. Words of ours describe
// one change, which may come as a joint one; the entry that ends a joint change has none.
func checkChange(cc *raftpb.ConfChangeV2, what *pb.Change) error {
	if what == nil && cc.LeaveJoint() {
		return nil
	}
	if what != nil && len(cc.Changes) == 1 && cc.Changes[0].NodeID == what.Member.GetId() && cc.Changes[0].Type == raftType(what) {
		return nil
	}
	return fmt.Errorf("it says %v to Raft and %v to the address book: another build wrote it, upgrade this node", cc.Changes, what)
}

func operationName(op pb.Change_Operation) string {
	switch op {
	case pb.Change_OPERATION_ADD:
		return "add"
	case pb.Change_OPERATION_PROMOTE:
		return "promote"
	case pb.Change_OPERATION_REMOVE:
		return "remove"
	case pb.Change_OPERATION_MOVE:
		return "move"
	case pb.Change_OPERATION_PUBLISH:
		return "publish"
	}
	return "unknown"
}

// permit refuses a change that makes no sense, or that could cost the group its majority.
func (l *loop) permit(c *pb.Change) error {
	book, id := l.book.get(), c.Member.Id
	m, known := book.Member(id)
	if c.Operation == pb.Change_OPERATION_ADD {
		return l.permitAdd(book, c.Member)
	}
	if !known {
		return fmt.Errorf("%w: %x", ErrMemberNotFound, id)
	}
	switch c.Operation {
	case pb.Change_OPERATION_MOVE:
		if o, taken := book.at(c.Member.Addr); taken && o.ID != id {
			return fmt.Errorf("%w: %s is member %x", ErrAddrExists, c.Member.Addr, o.ID)
		}
	case pb.Change_OPERATION_PROMOTE:
		return l.permitPromote(book, m)
	case pb.Change_OPERATION_REMOVE:
		return l.permitRemove(book, m)
	}
	return nil
}

func (l *loop) permitAdd(book *Membership, m *pb.Member) error {
	if _, taken := book.Member(m.Id); taken || book.WasRemoved(m.Id) {
		return fmt.Errorf("%w: %x", ErrMemberExists, m.Id)
	}
	if o, taken := book.at(m.Addr); taken {
		return fmt.Errorf("%w: %s is member %x", ErrAddrExists, m.Addr, o.ID)
	}
	if m.Learner && book.learners() >= l.cfg.MaxLearners {
		return fmt.Errorf("%w: at most %d; promote or remove the one that is there", ErrTooManyLearners, l.cfg.MaxLearners)
	}
	// A second voter may be added to one that runs: there is no other way to grow from one without learners.
	if started, voters := book.votersStarted(0); !m.Learner && (started != 1 || voters != 1) && started < (voters+1)/2+1 {
		return fmt.Errorf("%w: %d of then %d voters have started", ErrNotEnoughStarted, started, voters+1)
	}
	return l.allActive(book)
}

// allActive refuses to change a group of which a voter is away.
func (l *loop) allActive(book *Membership) error {
	for _, x := range book.Members {
		if !x.Learner && !l.isActive(x.ID) {
			return fmt.Errorf("%w: member %x (%s) is not connected to the leader", ErrUnhealthy, x.ID, x.Name)
		}
	}
	return nil
}

func (l *loop) permitPromote(book *Membership, m *Member) error {
	if !m.Learner {
		return fmt.Errorf("%w: %x votes already", ErrNotLearner, m.ID)
	}
	if started, voters := book.votersStarted(0); started+1 < (voters+1)/2+1 {
		return fmt.Errorf("%w: %d of then %d voters have started", ErrNotEnoughStarted, started+1, voters+1)
	}
	commit, match, following := l.raft.BasicStatus().Commit, uint64(0), false
	l.raft.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if id == m.ID {
			match, following = pr.Match, pr.State == tracker.StateReplicate
		}
	})
	if !following || !l.isActive(m.ID) || match+uint64(l.cfg.MaxPromoteLag) < commit {
		return fmt.Errorf("%w: it has the log up to %d, committed is %d; try again when it has caught up", ErrLearnerBehind, match, commit)
	}
	return nil
}

func (l *loop) permitRemove(book *Membership, m *Member) error {
	if m.Learner {
		return nil
	}
	started, voters := book.votersStarted(m.ID)
	if voters == 0 || started < voters/2+1 {
		return fmt.Errorf("%w: %d of the %d voters that would be left have started", ErrNotEnoughStarted, started, voters)
	}
	// Also of one that seems down: a slow one may confirm its own removal, and leave a group that can't go on.
	left := 0
	for _, x := range book.Members {
		if x.ID != m.ID && !x.Learner && l.isActive(x.ID) {
			left++
		}
	}
	if left < voters/2+1 {
		return fmt.Errorf("%w: %d of the %d voters that would be left are connected to the leader", ErrUnhealthy, left, voters)
	}
	if m.ID == l.cfg.NodeID {
		return errHandOver
	}
	return nil
}

// isActive says whether this leader has heard of a member within an election timeout, and can reach it. Raft's own
// mark of activity does not tell: it is taken back for a moment at each check of the quorum.
func (l *loop) isActive(id uint64) bool {
	return id == l.cfg.NodeID || l.transport.connected(id) && time.Since(l.heard[id]) < l.cfg.electionTimeout()
}
