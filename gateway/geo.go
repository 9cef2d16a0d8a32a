package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"geogate/gateway/geopb"
	"geogate/replication"
	"geogate/replication/policy"
)

// statusTimeout bounds the question to the leader about the peers.
const statusTimeout = time.Second

// geoServer is the service geogate.v1.Geo.
type geoServer struct {
	geopb.UnsafeGeoServer
	*Server
}

func (g geoServer) Wait(ctx context.Context, req *geopb.WaitRequest) (*geopb.Receipt, error) {
	start := time.Now()
	err := g.authorizeUser(ctx)
	var token policy.Token
	r := g.keyspaces.root
	if err == nil {
		token, r, err = g.readWait(req)
	}
	var receipt *geopb.Receipt
	if err == nil {
		receipt, err = g.wait(ctx, token, r)
	}
	p := int(r.policy)
	if err != nil {
		err = writeStatus(err)
	}
	g.metrics.observe(methodWait, p, start, err)
	return receipt, err
}

// readWait checks a request; what it leaves out is the cluster's default.
func (s *Server) readWait(req *geopb.WaitRequest) (policy.Token, rule, error) {
	r := s.keyspaces.root
	token, err := policy.ParseToken(req.Token)
	if err != nil {
		return token, r, fmt.Errorf("%w: %w", ErrMetadata, err)
	}
	if req.Policy != "" {
		if r.policy, err = policy.Parse(req.Policy); err != nil {
			return token, r, fmt.Errorf("%w: %w", ErrMetadata, err)
		}
	}
	if req.Timeout != nil {
		r.timeout = req.Timeout.AsDuration()
		if req.Timeout.CheckValid() != nil || r.timeout <= 0 || r.timeout > s.cfg.MaxPolicyTimeout {
			return token, r, fmt.Errorf("%w: timeout %s is not above 0 and up to %s", ErrMetadata, r.timeout, s.cfg.MaxPolicyTimeout)
		}
	}
	if token.Origin != s.name {
		return token, r, fmt.Errorf("%w: %s was issued by %s and this is %s: ask there", ErrForeignToken, token, token.Origin, s.name)
	}
	return token, r, nil
}

func (s *Server) wait(ctx context.Context, token policy.Token, r rule) (*geopb.Receipt, error) {
	forwarded := isForwarded(ctx)
	if forwarded {
		s.markServed(ctx)
	}
	start := time.Now()
	if err := s.reached(ctx, token, r.timeout, forwarded); err != nil {
		return nil, err
	}
	names, err := s.await(ctx, token, r.policy, r.timeout, forwarded)
	receipt := policy.Receipt{Token: token, Policy: r.policy, AckedBy: acked(s.name, names), Elapsed: time.Since(start)}
	switch {
	case errors.Is(err, ErrForwardedAstray):
		return nil, err
	case err != nil:
		s.metrics.policyFailed(r.policy, failTimeout)
		setReceipt(ctx, receipt, true)
		return nil, &notMetError{receipt: receipt, cause: ctx.Err()}
	}
	setReceipt(ctx, receipt, true)
	return &geopb.Receipt{
		Token: token.String(), Policy: r.policy.String(), AckedBy: receipt.AckedBy, Elapsed: durationpb.New(receipt.Elapsed),
	}, nil
}

// reached refuses a token that this datacenter has not issued. Only the leader knows: it has applied all
// that was ever acknowledged.
func (s *Server) reached(ctx context.Context, t policy.Token, timeout time.Duration, forwarded bool) error {
	if s.dc.Position(s.name).Revision >= t.Revision {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, min(timeout, s.cfg.RouteTimeout))
	defer cancel()
	return s.route(ctx, forwarded, func() error {
		if newest := s.dc.Position(s.name).Revision; newest < t.Revision {
			return fmt.Errorf("%w: %s, but the newest write of %s is %d", ErrFutureToken, t, s.name, newest)
		}
		return nil
	}, func(to *neighbor) (fate, error) {
		st, err := geopb.NewGeoClient(to).Status(s.forward.outgoing(ctx), &geopb.StatusRequest{})
		switch {
		case err != nil:
			return fateNotDone, err // a question may always be asked again
		case st.Leader != st.Node:
			return fateNotDone, ErrForwardedAstray
		case st.Vector[s.name] < t.Revision:
			return fateAnswered, fmt.Errorf("%w: %s, but the newest write of %s is %d", ErrFutureToken, t, s.name, st.Vector[s.name])
		}
		return fateAnswered, nil
	})
}

func (g geoServer) Status(ctx context.Context, _ *geopb.StatusRequest) (*geopb.StatusResponse, error) {
	if err := g.authorizeUser(ctx); err != nil {
		return nil, statusOf(err)
	}
	st := g.cfg.Inspector.State()
	resp := &geopb.StatusResponse{
		Dc: g.name, Node: g.cfg.MemberID, Leader: st.Leader, Term: st.Term, Revision: st.Revision, Vector: st.Vector,
		AppliedIndex: st.Applied, Incarnation: st.Incarnation, Digest: st.Digest,
	}
	to, self, err := g.leader()
	switch {
	case err != nil:
	case self:
		resp.PeersKnown, resp.Peers = true, peersToProto(g.replication.Peers())
	case to != nil && !isForwarded(ctx):
		ctx, cancel := context.WithTimeout(g.forward.outgoing(ctx), statusTimeout)
		defer cancel()
		if there, err := geopb.NewGeoClient(to).Status(ctx, &geopb.StatusRequest{}); err == nil {
			resp.PeersKnown, resp.Peers = there.PeersKnown, there.Peers
		}
	}
	return resp, nil
}

func peersToProto(peers []replication.PeerStatus) []*geopb.Peer {
	out := make([]*geopb.Peer, 0, len(peers))
	for _, p := range peers {
		out = append(out, &geopb.Peer{
			Dc: p.DC, Health: p.Health, Reason: p.Reason, AckedRevision: p.Acked, LagTxns: p.LagTxns,
			LagBytes: p.LagBytes, LagSeconds: p.LagSeconds, RttMs: p.RTTMillis, LastContactSeconds: p.LastContact,
		})
	}
	return out
}
