package gateway

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// leaseServer is etcd's Lease service; its keepalives are in keepalive.go. Leases belong to the datacenter that
// grants them: no policy applies to a grant, and the deletes of a revoke are ASYNC.
type leaseServer struct {
	pb.UnsafeLeaseServer
	*Server
}

// leaseOp is one kind of request about a lease that the leader answers.
type leaseOp[Q proto.Message, R response] struct {
	method method
	local  func(Lessor, context.Context, Q) (R, error)
	remote func(pb.LeaseClient, context.Context, Q, ...grpc.CallOption) (R, error)
	// homes, where keyspaces are single-writer, runs local as the leader with what the homes have of the lease; nil: as it is.
	homes func(s *Server, ctx context.Context, req Q, local func() (R, error)) (R, error)
}

var (
	opLeaseGrant = leaseOp[*pb.LeaseGrantRequest, *pb.LeaseGrantResponse]{
		methodLeaseGrant, Lessor.LeaseGrant, pb.LeaseClient.LeaseGrant, nil,
	}
	opLeaseRevoke = leaseOp[*pb.LeaseRevokeRequest, *pb.LeaseRevokeResponse]{
		methodLeaseRevoke, Lessor.LeaseRevoke, pb.LeaseClient.LeaseRevoke, (*Server).revokeLease,
	}
	opLeaseTimeToLive = leaseOp[*pb.LeaseTimeToLiveRequest, *pb.LeaseTimeToLiveResponse]{
		methodLeaseTimeToLive, Lessor.LeaseTimeToLive, pb.LeaseClient.LeaseTimeToLive, (*Server).leaseTimeToLive,
	}
)

func (l leaseServer) LeaseGrant(ctx context.Context, req *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	return leaseCall(ctx, l.Server, &opLeaseGrant, req, l.authorizeUser(ctx))
}

func (l leaseServer) LeaseRevoke(ctx context.Context, req *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	for tries := 1; ; tries++ {
		permitted, refused := l.authorizeRevoke(ctx, req.ID)
		resp, err := leaseCall(permitted, l.Server, &opLeaseRevoke, req, refused)
		if !errors.Is(rpctypes.Error(err), rpctypes.ErrAuthOldRevision) || refused != nil || tries > maxPermits {
			return resp, err
		}
	}
}

func (l leaseServer) LeaseTimeToLive(ctx context.Context, req *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	refused := l.authorizeUser(ctx)
	if refused == nil && req.Keys {
		refused = l.authorizeLeases(ctx, ActionRead, req.ID)
	}
	return leaseCall(ctx, l.Server, &opLeaseTimeToLive, req, refused)
}

func (l leaseServer) LeaseLeases(ctx context.Context, req *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	resp, err := answerRead(ctx, l.Server, methodLeaseLeases, time.Now(), func() error { return l.authorizeUser(ctx) },
		func(ctx context.Context) (*pb.LeaseLeasesResponse, error) { return l.dc.LeaseLeases(ctx, req) })
	if err != nil {
		return nil, err
	}
	ids := make([]int64, len(resp.Leases))
	for i, x := range resp.Leases {
		ids[i] = x.ID
	}
	if err := l.authorizeLeases(ctx, ActionRead, ids...); err != nil {
		return nil, readStatus(err)
	}
	return resp, nil
}

// leaseCall has the leader answer, this node or another one.
func leaseCall[Q proto.Message, R response](ctx context.Context, s *Server, op *leaseOp[Q, R], req Q, refused error) (R, error) {
	start := time.Now()
	var resp R
	err := refused
	forwarded := isForwarded(ctx)
	if forwarded {
		s.markServed(ctx)
	}
	if err == nil {
		_, err = s.awaitLeader(ctx)
	}
	if err == nil {
		err = s.route(ctx, forwarded, func() (err error) {
			lctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
			defer cancel()
			local := func() (R, error) { return op.local(s.dc, lctx, req) }
			if op.homes != nil && s.keyspaces.anySingle {
				resp, err = op.homes(s, ctx, req, local)
			} else {
				resp, err = local()
			}
			if err == nil {
				s.fill(resp.GetHeader())
			}
			return err
		}, func(to *neighbor) (f fate, err error) {
			s.metrics.forwarded.Inc()
			fctx, cancel := context.WithTimeout(s.forward.outgoing(ctx), s.cfg.RequestTimeout+time.Second)
			defer cancel()
			var trailer metadata.MD
			var reached peer.Peer
			resp, err = op.remote(pb.NewLeaseClient(to), fctx, req, grpc.Trailer(&trailer), grpc.Peer(&reached))
			return fateOf(err, trailer, &reached), err
		})
	}
	if err != nil {
		var none R
		resp, err = none, writeStatus(err)
	}
	s.metrics.observe(op.method, noPolicy, start, err)
	return resp, err
}
