package consensus

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"geogate/consensus/pb"
)

// arrivals are the snapshots that are complete on disk and not yet taken over or turned down by Raft. There is
// at most one: a second transfer is refused while one is under way.
type arrivals struct {
	mu   sync.Mutex
	busy bool          // a transfer is under way, its file lies here, or it is being restored
	file *snapshotFile // nil until the transfer is complete
}

func (a *arrivals) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy {
		return false
	}
	a.busy = true
	return true
}

func (a *arrivals) put(file *snapshotFile) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.file = file
	a.busy = file != nil
}

// claim takes the snapshot that Raft has accepted; nil if it is not the one that lies here.
func (a *arrivals) claim(index, term uint64) *snapshotFile {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil || a.file.index != index || a.file.term != term {
		return nil
	}
	file := a.file
	a.file = nil
	return file
}

// restored ends what claim began. Until then no other file may take the place of the claimed one, because a
// restart would need it.
func (a *arrivals) restored() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy = false
}

// leftover takes what Raft did not want.
func (a *arrivals) leftover() *snapshotFile {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return nil
	}
	file := a.file
	a.file, a.busy = nil, false
	return file
}

// Snapshot receives one copy of a peer's state machine.
func (r *receiver) Snapshot(st grpc.ClientStreamingServer[pb.SnapshotPart, pb.SnapshotReceipt]) error {
	first, err := st.Recv()
	if err != nil {
		return err
	}
	if err := r.t.check(first.Hello); err != nil {
		return err
	}
	from, head := first.Hello.From, first.Header
	if head == nil || head.Index == 0 || head.Size > math.MaxInt64 || len(head.Conf) > maxConfBytes {
		return status.Error(codes.InvalidArgument, "snapshot header is missing or wrong")
	}
	if !r.t.arrived.begin() {
		return status.Error(codes.Unavailable, "another snapshot is being received")
	}
	file, err := r.receiveSnapshot(st, from, head)
	r.t.arrived.put(file)
	if err != nil {
		r.t.node.metrics.snapshotsReceived.WithLabelValues("failed").Inc()
		r.t.cfg.Logger.Warn("receiving a snapshot failed", "peer", from, "index", head.Index, "error", err)
		return status.Error(codes.Internal, err.Error())
	}
	r.t.node.metrics.snapshotsReceived.WithLabelValues("ok").Inc()
	m := raftpb.Message{
		Type: raftpb.MsgSnap, From: from, To: r.t.cfg.NodeID, Term: head.SenderTerm,
		Snapshot: raftpb.Snapshot{Metadata: raftpb.SnapshotMetadata{ConfState: file.conf, Index: file.index, Term: file.term}},
	}
	if err := r.t.urgent.push(st.Context(), m); err != nil {
		if left := r.t.arrived.leftover(); left != nil {
			err = errors.Join(err, left.remove())
		}
		return err
	}
	return st.SendAndClose(&pb.SnapshotReceipt{Hello: r.t.hello(from)})
}

// receiveSnapshot writes the parts to a file and verifies them.
func (r *receiver) receiveSnapshot(st grpc.ClientStreamingServer[pb.SnapshotPart, pb.SnapshotReceipt], from uint64, head *pb.SnapshotHeader) (*snapshotFile, error) {
	w, err := createSnapshot(r.t.cfg.snapDir(), head.Index, head.Term, head.Conf, int64(head.Size))
	if err != nil {
		return nil, err
	}
	defer w.discard()
	for {
		part, err := st.Recv()
		if err != nil {
			return nil, fmt.Errorf("%d bytes before the end: %w", w.left, noEOF(err))
		}
		if !r.t.cfg.Link(from, r.t.cfg.NodeID) {
			return nil, errors.New("link is cut")
		}
		if part.End != nil {
			return w.finish(part.End.Checksum)
		}
		if _, err := w.Write(part.Data); err != nil {
			return nil, err
		}
	}
}
