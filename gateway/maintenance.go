package gateway

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"geogate/dc"
)

// maintenanceServer answers what tools ask before they use a server. What it does not have is Unimplemented.
type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	*Server
}

func (m maintenanceServer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	st := m.cfg.Inspector.State()
	resp := &pb.StatusResponse{
		Header:  m.header(st.Revision),
		Version: m.cfg.Version, StorageVersion: "3.6.0",
		DbSize: st.DBSizeBytes, DbSizeInUse: st.DBInUseBytes,
		Leader: st.Leader, RaftTerm: max(st.Term, 1), RaftIndex: st.Commit, RaftAppliedIndex: st.Applied,
	}
	if me, ok := m.member(m.cfg.MemberID); ok {
		resp.IsLearner = me.Learner
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
func (m maintenanceServer) Alarm(_ context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
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

// MoveLeader is answered by the leader only, as in etcd.
func (m maintenanceServer) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	err := m.authorize(ctx, ActionAdmin, nil, nil)
	if err == nil {
		err = m.movable(r.TargetID)
	}
	if errors.Is(err, dc.ErrNotLeader) {
		return nil, rpctypes.ErrGRPCNotLeader
	}
	if err != nil {
		return nil, statusOf(err)
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.RequestTimeout)
	defer cancel()
	if err := m.cfg.Membership.TransferLeadership(ctx, r.TargetID); err != nil {
		return nil, writeStatus(err)
	}
	return &pb.MoveLeaderResponse{Header: m.header(m.dc.Revision())}, nil
}

// HashKV would have to hash as etcd does to be of use; datacenters are compared by digest instead.
func (m maintenanceServer) HashKV(context.Context, *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	return nil, status.Error(codes.Unimplemented, "geogate: HashKV is not supported; compare digest and vector of geogate.v1.Geo/Status")
}
