package gateway

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"geogate/dc"
)

// maintenanceServer answers what tools ask before they use a server. What it does not have is Unimplemented.
type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	*Server
}

// storageVersion is what clients see as the version of the storage; its format is not etcd's.
const storageVersion = "3.6.0"

func (m maintenanceServer) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	if err := m.authorizeUser(ctx); err != nil {
		return nil, statusOf(err)
	}
	st := m.cfg.Inspector.State()
	resp := &pb.StatusResponse{
		Header:  m.header(st.Revision),
		Version: m.cfg.Version, StorageVersion: storageVersion,
		DbSize: st.DBSizeBytes, DbSizeInUse: st.DBInUseBytes,
		DbSizeQuota: m.cfg.QuotaBytes, DowngradeInfo: &pb.DowngradeInfo{},
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
	if m.cfg.Users != nil && m.cfg.Users.Auth().Locked() {
		resp.Errors = append(resp.Errors, "geogate: "+ErrAuthWithoutRoot.Error())
	}
	for _, a := range m.dc.Alarms() {
		resp.Errors = append(resp.Errors, alarmText(a))
	}
	return resp, nil
}

// Defragment works on the node that is asked, as in etcd, but does not stop its reads and writes.
func (m maintenanceServer) Defragment(ctx context.Context, _ *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	end, err := m.beginWork(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	defer end()
	m.log.Info("defragmentation begins", "bytes", m.cfg.Inspector.State().DBSizeBytes)
	if err := m.dc.Defragment(ctx); err != nil {
		m.log.Warn("defragmentation failed; the database is as it was", "error", err)
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

// beginWork lets an operator's request in that reads or writes the whole database, unless enough of them are
// under way; end must be called.
func (m maintenanceServer) beginWork(ctx context.Context) (end func(), err error) {
	if err := m.authorize(ctx, ActionAdmin, nil, nil); err != nil {
		return nil, err
	}
	select {
	case m.work <- struct{}{}:
		return func() { <-m.work }, nil
	default:
		return nil, rpctypes.ErrGRPCRequestTooManyRequests
	}
}
