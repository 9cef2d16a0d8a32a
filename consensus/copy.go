package consensus

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"geogate/consensus/pb"
)

// Copy sends a copy of the state machine to a node of the group that has lost its own. What is durable here is
// committed, so it does not matter whether this node leads, or whether there is a leader. One copy is sent at a time.
func (r *receiver) Copy(req *pb.CopyRequest, st grpc.ServerStreamingServer[pb.SnapshotPart]) error {
	if err := r.t.check(req.Hello); err != nil {
		return err
	}
	from := req.Hello.From
	if !r.t.cfg.Link(from, r.t.cfg.NodeID) {
		return status.Error(codes.Unavailable, "link is cut")
	}
	to := r.t.peer(from)
	if to == nil {
		return status.Error(codes.PermissionDenied, "not a member of this group")
	}
	if !r.t.copying.TryLock() {
		return status.Error(codes.Unavailable, "another copy is being sent")
	}
	defer r.t.copying.Unlock()
	snap, err := r.t.cfg.StateMachine.Snapshot()
	if err != nil {
		return status.Errorf(codes.Unavailable, "open copy of the state machine: %v", err)
	}
	defer snap.Close() // only read
	if snap.Index == 0 || len(snap.ConfState) == 0 {
		return status.Error(codes.Unavailable, "nothing is durable here yet")
	}
	r.t.cfg.Logger.Info("sending a copy of the data to a node that is being rebuilt", "peer", from, "index", snap.Index, "bytes", snap.Size)
	err = st.Send(&pb.SnapshotPart{Hello: r.t.hello(from), Header: &pb.SnapshotHeader{
		Index: snap.Index, Term: snap.Term, Conf: snap.ConfState, Size: uint64(snap.Size),
	}})
	if err == nil {
		err = to.stream(&snap, st.Send, st.Context().Err)
	}
	if err != nil {
		r.t.cfg.Logger.Warn("sending a copy of the data failed", "peer", from, "error", err)
		return status.Error(codes.Aborted, fmt.Sprintf("send copy of the state machine: %v", err))
	}
	return nil
}
