package recipe

import (
	"context"
	"errors"

	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc"

	"geogate/gateway/electionpb"
)

// noLease is of sessions that only look.
const noLease = -1

// errNoLeaderKey has etcd's text.
var errNoLeaderKey = errors.New(`"leader" field must be provided`)

// Elections is etcd's Election service. Its errors are the client's, as they are in etcd.
type Elections struct {
	electionpb.UnsafeElectionServer
	*Client
}

// Campaign waits until the caller leads, and enters it with a value.
func (e Elections) Campaign(ctx context.Context, req *electionpb.CampaignRequest) (*electionpb.CampaignResponse, error) {
	ctx, cancel := e.begin(ctx)
	defer cancel()
	s, err := e.session(ctx, req.Lease)
	if err != nil {
		return nil, err
	}
	el := concurrency.NewElection(s, string(req.Name))
	if err := el.Campaign(ctx, string(req.Value)); err != nil {
		return nil, err
	}
	return &electionpb.CampaignResponse{Header: el.Header(), Leader: &electionpb.LeaderKey{
		Name: req.Name, Key: []byte(el.Key()), Rev: el.Rev(), Lease: int64(s.Lease()),
	}}, nil
}

// Proclaim changes the value of a leader.
func (e Elections) Proclaim(ctx context.Context, req *electionpb.ProclaimRequest) (*electionpb.ProclaimResponse, error) {
	ctx, cancel := e.begin(ctx)
	defer cancel()
	el, err := e.resume(ctx, req.Leader)
	if err != nil {
		return nil, err
	}
	if err := el.Proclaim(ctx, string(req.Value)); err != nil {
		return nil, err
	}
	return &electionpb.ProclaimResponse{Header: el.Header()}, nil
}

// Resign gives a leadership back.
func (e Elections) Resign(ctx context.Context, req *electionpb.ResignRequest) (*electionpb.ResignResponse, error) {
	ctx, cancel := e.begin(ctx)
	defer cancel()
	el, err := e.resume(ctx, req.Leader)
	if err != nil {
		return nil, err
	}
	if err := el.Resign(ctx); err != nil {
		return nil, err
	}
	return &electionpb.ResignResponse{Header: el.Header()}, nil
}

// Leader is who leads at this moment.
func (e Elections) Leader(ctx context.Context, req *electionpb.LeaderRequest) (*electionpb.LeaderResponse, error) {
	ctx, cancel := e.begin(ctx)
	defer cancel()
	s, err := e.session(ctx, noLease)
	if err != nil {
		return nil, err
	}
	leader, err := concurrency.NewElection(s, string(req.Name)).Leader(ctx)
	if err != nil {
		return nil, err
	}
	return &electionpb.LeaderResponse{Header: leader.Header, Kv: leader.Kvs[0]}, nil
}

// Observe tells who leads, again at each change.
func (e Elections) Observe(req *electionpb.LeaderRequest, stream grpc.ServerStreamingServer[electionpb.LeaderResponse]) error {
	ctx, cancel := e.begin(stream.Context())
	defer cancel()
	s, err := e.session(ctx, noLease)
	if err != nil {
		return err
	}
	for leader := range concurrency.NewElection(s, string(req.Name)).Observe(ctx) {
		if err := stream.Send(&electionpb.LeaderResponse{Header: leader.Header, Kv: leader.Kvs[0]}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// resume goes on with the election of a leader.
func (e Elections) resume(ctx context.Context, l *electionpb.LeaderKey) (*concurrency.Election, error) {
	if l == nil {
		return nil, errNoLeaderKey
	}
	s, err := e.session(ctx, l.Lease)
	if err != nil {
		return nil, err
	}
	return concurrency.ResumeElection(s, string(l.Name), string(l.Key), l.Rev), nil
}
