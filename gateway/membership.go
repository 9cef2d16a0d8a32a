package gateway

import (
	"context"
	"fmt"
	"net/url"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"geogate/dc"
)

// Membership is the nodes of this datacenter, which may come and go. Changes work on the leader; elsewhere the
// answer is [dc.ErrNotLeader], and so it is of a leader that has handed over to be removed.
type Membership interface {
	// Members is who is known here, in the order of their ids; not to be changed.
	Members() []Member
	// Linearize returns once this node knows of every change that was made before the call.
	Linearize(context.Context) error
	AddMember(ctx context.Context, addr string, learner bool) (id uint64, err error)
	PromoteMember(ctx context.Context, id uint64) error
	RemoveMember(ctx context.Context, id uint64) error
	MoveMember(ctx context.Context, id uint64, addr string) error
	TransferLeadership(ctx context.Context, to uint64) error
}

// fixed is a datacenter whose nodes never change.
type fixed []Member

func (f fixed) Members() []Member             { return f }
func (fixed) Linearize(context.Context) error { return nil }

func (fixed) AddMember(context.Context, string, bool) (uint64, error) { return 0, errFixed }
func (fixed) PromoteMember(context.Context, uint64) error             { return errFixed }
func (fixed) RemoveMember(context.Context, uint64) error              { return errFixed }
func (fixed) MoveMember(context.Context, uint64, string) error        { return errFixed }
func (fixed) TransferLeadership(context.Context, uint64) error        { return errFixed }

// member finds a node of this datacenter.
func (s *Server) member(id uint64) (Member, bool) {
	all := s.cfg.Membership.Members()
	i := slices.IndexFunc(all, func(m Member) bool { return m.ID == id })
	if i < 0 {
		return Member{}, false
	}
	return all[i], true
}

// change makes a change of the members here, when this node leads, or where the leader is.
func change[R any](ctx context.Context, s *Server, here func(context.Context) error, there func(context.Context, pb.ClusterClient, ...grpc.CallOption) (R, error)) (resp R, local bool, err error) {
	if err := s.authorize(ctx, ActionAdmin, nil, nil); err != nil {
		return resp, false, statusOf(err)
	}
	forwarded := isForwarded(ctx)
	if forwarded {
		s.markServed(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	err = s.route(ctx, forwarded, func() error {
		local = true
		return here(ctx)
	}, func(to *neighbor) (fate, error) {
		local = false
		s.metrics.forwarded.Inc()
		var trailer metadata.MD
		var reached peer.Peer
		var err error
		resp, err = there(s.forward.outgoing(ctx), pb.NewClusterClient(to), grpc.Trailer(&trailer), grpc.Peer(&reached))
		return fateOf(err, trailer, &reached), err
	})
	if err != nil {
		return resp, local, writeStatus(err)
	}
	return resp, local, nil
}

// memberAddr is the one address in a list of peer URLs.
func memberAddr(urls []string) (string, error) {
	if len(urls) != 1 {
		return "", fmt.Errorf("%w: found %d, want exactly one", errMemberURLs, len(urls))
	}
	u, err := url.Parse(urls[0])
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" || u.Path != "" || u.RawQuery != "" || u.User != nil {
		return "", fmt.Errorf("%w: %q is not http://host:port or https://host:port", errMemberURLs, urls[0])
	}
	return u.Host, nil
}

// movable says whether a member may be given the leadership.
func (s *Server) movable(id uint64) error {
	if m, ok := s.member(id); !ok || m.Learner {
		return fmt.Errorf("%w: %x is no voting member", errBadTransferee, id)
	}
	if _, leading := s.dc.Leading(); !leading {
		return dc.ErrNotLeader
	}
	return nil
}
