package gateway

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"geogate/dc"
)

// clusterServer lists this datacenter's nodes and changes them. Headers have no revision, as in etcd.
type clusterServer struct {
	pb.UnimplementedClusterServer
	*Server
}

func (c clusterServer) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	if r.Linearizable {
		ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
		defer cancel()
		if err := c.cfg.Membership.Linearize(ctx); err != nil {
			return nil, readStatus(err)
		}
	}
	return &pb.MemberListResponse{Header: c.header(0), Members: c.list()}, nil
}

func (c clusterServer) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	addr, err := memberAddr(r.PeerURLs)
	if err != nil {
		return nil, statusOf(err)
	}
	var id uint64
	resp, local, err := change(ctx, c.Server, func(ctx context.Context) (err error) {
		id, err = c.cfg.Membership.AddMember(ctx, addr, r.IsLearner)
		return err
	}, func(ctx context.Context, leader pb.ClusterClient, o ...grpc.CallOption) (*pb.MemberAddResponse, error) {
		return leader.MemberAdd(ctx, r, o...)
	})
	if err != nil || !local {
		return resp, err
	}
	return &pb.MemberAddResponse{
		Header: c.header(0), Members: c.list(), Member: &pb.Member{ID: id, PeerURLs: r.PeerURLs, IsLearner: r.IsLearner},
	}, nil
}

func (c clusterServer) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	resp, local, err := change(ctx, c.Server, func(ctx context.Context) error {
		return c.cfg.Membership.RemoveMember(ctx, r.ID)
	}, func(ctx context.Context, leader pb.ClusterClient, o ...grpc.CallOption) (*pb.MemberRemoveResponse, error) {
		return leader.MemberRemove(ctx, r, o...)
	})
	if err != nil || !local {
		return resp, err
	}
	return &pb.MemberRemoveResponse{Header: c.header(0), Members: c.list()}, nil
}

func (c clusterServer) MemberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	addr, err := memberAddr(r.PeerURLs)
	if _, known := c.member(r.ID); err != nil && !known {
		err = dc.ErrMemberNotFound // which etcd looks at first
	}
	if err != nil {
		return nil, statusOf(err)
	}
	resp, local, err := change(ctx, c.Server, func(ctx context.Context) error {
		return c.cfg.Membership.MoveMember(ctx, r.ID, addr)
	}, func(ctx context.Context, leader pb.ClusterClient, o ...grpc.CallOption) (*pb.MemberUpdateResponse, error) {
		return leader.MemberUpdate(ctx, r, o...)
	})
	if err != nil || !local {
		return resp, err
	}
	return &pb.MemberUpdateResponse{Header: c.header(0), Members: c.list()}, nil
}

func (c clusterServer) MemberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	resp, local, err := change(ctx, c.Server, func(ctx context.Context) error {
		return c.cfg.Membership.PromoteMember(ctx, r.ID)
	}, func(ctx context.Context, leader pb.ClusterClient, o ...grpc.CallOption) (*pb.MemberPromoteResponse, error) {
		return leader.MemberPromote(ctx, r, o...)
	})
	if err != nil || !local {
		return resp, err
	}
	return &pb.MemberPromoteResponse{Header: c.header(0), Members: c.list()}, nil
}

func (s *Server) list() (out []*pb.Member) {
	for _, m := range s.cfg.Membership.Members() {
		out = append(out, &pb.Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.Learner})
	}
	return out
}
