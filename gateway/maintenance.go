package gateway

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// maintenanceServer answers what tools ask before they use a server. What it does not have is Unimplemented.
type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	*Server
}

func (m maintenanceServer) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	if err := m.authorizeUser(ctx); err != nil {
		return nil, statusOf(err)
	}
	st := m.cfg.Inspector.State()
	resp := &pb.StatusResponse{
		Header:  m.header(st.Revision),
		Version: m.cfg.Version, StorageVersion: "3.6.0",
		DbSize: st.DBSizeBytes, DbSizeInUse: st.DBInUseBytes,
		Leader: st.Leader, RaftTerm: max(st.Term, 1), RaftIndex: st.Commit, RaftAppliedIndex: st.Applied,
	}
	if st.Leader == 0 {
		resp.Errors = append(resp.Errors, "etcdserver: no leader")
	}
	if st.Problem != "" {
		resp.Errors = append(resp.Errors, st.Problem)
	}
	return resp, nil
}

// Alarm lists no alarms; there are none to raise or clear by hand.
func (m maintenanceServer) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	allowed := m.authorizeUser
	if r.Action != pb.AlarmRequest_GET {
		allowed = func(ctx context.Context) error { return m.authorize(ctx, ActionAdmin, nil, nil) }
	}
	if err := allowed(ctx); err != nil {
		return nil, statusOf(err)
	}
	switch r.Action {
	case pb.AlarmRequest_GET, pb.AlarmRequest_DEACTIVATE:
		return &pb.AlarmResponse{Header: m.header(m.dc.Revision())}, nil
	}
	return nil, status.Error(codes.Unimplemented, "geogate: alarms can't be raised by hand")
}

// Defragment has nothing to do: free pages of the store are used again.
func (m maintenanceServer) Defragment(ctx context.Context, _ *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	if err := m.authorize(ctx, ActionAdmin, nil, nil); err != nil {
		return nil, statusOf(err)
	}
	return &pb.DefragmentResponse{Header: m.header(m.dc.Revision())}, nil
}

// HashKV would have to hash as etcd does to be of use; datacenters are compared by digest instead.
func (m maintenanceServer) HashKV(context.Context, *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	return nil, status.Error(codes.Unimplemented, "geogate: HashKV is not supported; compare digest and vector of geogate.v1.Geo/Status")
}
