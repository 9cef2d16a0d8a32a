package dc

import (
	"context"
	"errors"
	"fmt"

	"geogate/consensus"
)

// Refusals of a change of the nodes; see [consensus.Node.AddMember] and its neighbours.
var (
	ErrMemberNotFound   = consensus.ErrMemberNotFound
	ErrMemberExists     = consensus.ErrMemberExists
	ErrMemberAddrExists = consensus.ErrAddrExists
	ErrMemberNotLearner = consensus.ErrNotLearner
	ErrLearnerBehind    = consensus.ErrLearnerBehind
	ErrTooManyLearners  = consensus.ErrTooManyLearners
	ErrNotEnoughStarted = consensus.ErrNotEnoughStarted
	ErrUnhealthy        = consensus.ErrUnhealthy
	ErrTransfer         = consensus.ErrTransfer
	ErrMembersBusy      = consensus.ErrOverloaded
)

// Membership is who this datacenter's nodes are, as far as this one knows; not to be changed.
func (d *DC) Membership() *consensus.Membership { return d.node.Membership() }

// MembershipChanged is closed at the next change; take it before reading [DC.Membership].
func (d *DC) MembershipChanged() <-chan struct{} { return d.node.MembershipChanged() }

// Removed is closed when this node has learned that it belongs to the datacenter no more.
func (d *DC) Removed() <-chan struct{} { return d.node.Removed() }

// AddMember lets a node join that the others reach at addr, as a learner or a voter, and returns the id that it is
// given. All changes are made by the leader; elsewhere the answer is [ErrNotLeader].
func (d *DC) AddMember(ctx context.Context, addr string, learner bool) (uint64, error) {
	m, err := d.node.AddMember(ctx, addr, learner)
	return m.ID, memberError(err)
}

// PromoteMember makes a voter of a learner that has caught up.
func (d *DC) PromoteMember(ctx context.Context, id uint64) error {
	return memberError(d.node.PromoteMember(ctx, id))
}

// RemoveMember takes a node out for good. A leader that is to remove itself hands over, and answers [ErrNotLeader].
func (d *DC) RemoveMember(ctx context.Context, id uint64) error {
	return memberError(d.node.RemoveMember(ctx, id))
}

// MoveMember changes the address at which the others reach a node.
func (d *DC) MoveMember(ctx context.Context, id uint64, addr string) error {
	return memberError(d.node.MoveMember(ctx, id, addr))
}

// TransferLeadership makes another node the leader; it works on the leader.
func (d *DC) TransferLeadership(ctx context.Context, to uint64) error {
	return memberError(d.node.TransferLeadership(ctx, to))
}

// memberError says in this package's words what those who route requests have to know.
func memberError(err error) error {
	for _, w := range []struct{ theirs, ours error }{
		{consensus.ErrNotLeader, ErrNotLeader}, {consensus.ErrDropped, ErrNotLeader},
		{consensus.ErrStopped, ErrStopped}, {consensus.ErrUncertain, ErrUnknownOutcome},
	} {
		if errors.Is(err, w.theirs) {
			return fmt.Errorf("%w: %w", w.ours, err)
		}
	}
	return err
}
