package gateway

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// leaseServer says that there are no leases. A put that names a lease fails with etcd's "requested lease not
// found", which is the truth: none can exist.
type leaseServer struct{ pb.UnsafeLeaseServer }

func noLeases(method string) error {
	return status.Errorf(codes.Unimplemented, "geogate: %s is not supported: this version has no leases", method)
}

func (leaseServer) LeaseGrant(context.Context, *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	return nil, noLeases("LeaseGrant")
}

func (leaseServer) LeaseRevoke(context.Context, *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	return nil, noLeases("LeaseRevoke")
}

func (leaseServer) LeaseKeepAlive(grpc.BidiStreamingServer[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse]) error {
	return noLeases("LeaseKeepAlive")
}

func (leaseServer) LeaseTimeToLive(context.Context, *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	return nil, noLeases("LeaseTimeToLive")
}

func (leaseServer) LeaseLeases(context.Context, *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	return nil, noLeases("LeaseLeases")
}
