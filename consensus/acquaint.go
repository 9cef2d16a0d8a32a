package consensus

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"geogate/consensus/pb"
)

// removedCode is how a node is told that it is no member any more. Nothing else on these streams has this code.
const removedCode = codes.PermissionDenied

// acquaintPause is between two rounds of asking who has become a member.
const acquaintPause = 500 * time.Millisecond

func (t *transport) tellRemoved(id uint64) error {
	return status.Errorf(removedCode, "node %x was removed from this group; %s", id, rejoin)
}

// peers is not to be changed.
func (t *transport) peers() map[uint64]*peer { return *t.known.Load() }

func (t *transport) peer(id uint64) *peer { return (*t.known.Load())[id] }

// others are the ids of the peers.
func (t *transport) others() []uint64 { return slices.Collect(maps.Keys(t.peers())) }

// follow keeps a peer for each member and for nobody else. A node that has fallen behind keeps what others told it
// of newer members until its own log is that far.
func (t *transport) follow(m *Membership) {
	t.changePeers(func(next map[uint64]*peer) {
		for id, p := range next {
			if _, is := m.Member(id); !is && (!p.guest || m.Index >= t.guestsAt || m.WasRemoved(id)) {
				delete(next, id)
			}
		}
		for i := range m.Members {
			t.haveLocked(next, &m.Members[i], false)
		}
	})
}

// haveLocked makes sure of a peer at a member's address.
func (t *transport) haveLocked(next map[uint64]*peer, m *Member, guest bool) {
	old := next[m.ID]
	if m.ID == t.cfg.NodeID {
		return
	}
	if old != nil && old.addr == m.Addr {
		old.guest = old.guest && guest
		return
	}
	p, err := newPeer(t, m)
	if err != nil {
		t.cfg.Logger.Error("can't reach a member; correct its address with a change of the member", "error", err)
		return
	}
	if p.guest = guest; old != nil {
		p.left = old.left
	}
	next[m.ID] = p
}

// changePeers replaces the peers, and starts and ends those that came and went.
func (t *transport) changePeers(edit func(map[uint64]*peer)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.peers()
	next := maps.Clone(before)
	edit(next)
	t.known.Store(&next)
	for id, p := range before {
		now := next[id]
		if now == p {
			continue
		}
		if p.cancel != nil {
			p.cancel()
		}
		p.cancel = func() {} // for one that has not begun
		p.conn.Close()       //nolint:errcheck // only fails when closed before
		if now == nil {
			close(p.left)
		}
	}
	for id, p := range next {
		if before[id] == p || t.dialing == nil {
			continue
		}
		if t.dialing.Err() != nil {
			p.conn.Close() //nolint:errcheck // the transport is at its end
			continue
		}
		t.running.Go(func() { p.run(t.dialing) })
	}
}

// acquaint asks the members that this node knows for those that it does not know, when one of those has called.
// A node that was away while the group changed would otherwise refuse the very leader that can tell it so; and to
// believe the caller itself would let in nodes that were set up wrong.
func (t *transport) acquaint(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.stranger:
		}
		for _, p := range t.peers() {
			t.learnFrom(ctx, p)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(acquaintPause):
		}
	}
}

func (t *transport) learnFrom(ctx context.Context, p *peer) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := p.client.Members(ctx, &pb.MembersRequest{Hello: t.hello(p.id)})
	if err != nil {
		return // its lanes say why
	}
	m := membershipFromProto(answer.Membership)
	if m == nil || m.Index <= t.node.book.get().Index {
		return
	}
	t.changePeers(func(next map[uint64]*peer) {
		t.guestsAt = max(t.guestsAt, m.Index)
		for i := range m.Members {
			if x := &m.Members[i]; next[x.ID] == nil {
				t.cfg.Logger.Info("heard of a member that joined while this node was away", "peer", x.ID, "name", x.Name, "told_by", p.id)
				t.haveLocked(next, x, true)
			}
		}
	})
}

// Members answers who the members are.
func (r *receiver) Members(_ context.Context, req *pb.MembersRequest) (*pb.MembersReply, error) {
	h := req.Hello
	switch {
	case h == nil || h.ClusterId != r.t.cfg.ClusterID:
		return nil, status.Errorf(codes.FailedPrecondition, "this is node %x of group %x, the caller is of group %x: wrong address or cluster name",
			r.t.cfg.NodeID, r.t.cfg.ClusterID, h.GetClusterId())
	case r.t.node.removal.err() != nil || r.t.node.applied.get() == 0:
		return nil, status.Errorf(codes.Unavailable, "node %x is not in the group itself", r.t.cfg.NodeID)
	}
	return &pb.MembersReply{Hello: r.t.hello(h.From), Membership: membershipToProto(r.t.node.book.get())}, nil
}

// Publish commits what a member says of itself.
func (r *receiver) Publish(ctx context.Context, req *pb.PublishRequest) (*pb.PublishReply, error) {
	if err := r.t.check(req.Hello); err != nil {
		return nil, err
	}
	m := memberFromProto(req.Member)
	if m.ID != req.Hello.From || m.Name == "" {
		return nil, status.Errorf(codes.InvalidArgument, "node %x speaks for node %x named %q", req.Hello.From, m.ID, m.Name)
	}
	if !r.t.cfg.Link(m.ID, r.t.cfg.NodeID) {
		return nil, status.Error(codes.Unavailable, "link is cut")
	}
	if err := r.t.node.change(ctx, pb.Change_OPERATION_PUBLISH, &m); err != nil {
		return nil, status.Error(codes.Unavailable, fmt.Sprintf("node %x: %v", r.t.cfg.NodeID, err))
	}
	return &pb.PublishReply{}, nil
}
