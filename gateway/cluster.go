package gateway

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// clusterServer lists this datacenter's nodes; they are changed through the configuration only.
type clusterServer struct {
	pb.UnimplementedClusterServer
	*Server
}

// MemberList has no revision in its header, as in etcd.
func (c clusterServer) MemberList(context.Context, *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	resp := &pb.MemberListResponse{Header: c.header(0)}
	for _, m := range c.cfg.Members {
		resp.Members = append(resp.Members, &pb.Member{
			ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs,
		})
	}
	return resp, nil
}
