package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/etcd/raft/v3"
	"go.etcd.io/etcd/raft/v3/raftpb"

	"geogate/consensus/pb"
)

const (
	snapshotPartBytes  = 256 << 10
	firstSnapshotPause = 500 * time.Millisecond // after a failed transfer; doubles
	lastSnapshotPause  = 30 * time.Second       // up to this
)

// transfer takes up Raft's wish to send a snapshot. Raft has one wish at a time for a peer and waits for the
// report; a second one can only come from a later term, and then the first is about to fail.
func (p *peer) transfer(m raftpb.Message) {
	select {
	case p.wanted <- m:
	default:
		p.t.reports.snapshot(p.id, raft.SnapshotFailure)
	}
}

// transfers sends snapshots, one at a time, until ctx ends. Each wish ends with a report; after a failure that
// comes late, because Raft would ask again at once.
func (p *peer) transfers(ctx context.Context) {
	pause := firstSnapshotPause
	for {
		var m raftpb.Message
		select {
		case <-ctx.Done():
			return
		case m = <-p.wanted:
		}
		err := p.sendSnapshot(ctx, m)
		p.hold.Store(0)
		if err == nil {
			pause = firstSnapshotPause
			p.t.node.metrics.snapshotsSent.WithLabelValues("ok").Inc()
			p.t.reports.snapshot(p.id, raft.SnapshotFinish)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		p.t.node.metrics.snapshotsSent.WithLabelValues("failed").Inc()
		p.log.Warn("sending a snapshot failed", "error", err, "retry_after", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, lastSnapshotPause)
		p.t.reports.snapshot(p.id, raft.SnapshotFailure)
	}
}

// sendSnapshot opens a copy of the state machine and streams it. The copy has its own position, which is at or
// after the one in m; only that position is told to the peer.
func (p *peer) sendSnapshot(ctx context.Context, m raftpb.Message) error {
	p.hold.Store(m.Snapshot.Metadata.Index)
	snap, err := p.t.cfg.StateMachine.Snapshot()
	if err != nil {
		return fmt.Errorf("open copy of the state machine: %w", err)
	}
	defer snap.Close() // only read
	if snap.Index < m.Snapshot.Metadata.Index {
		return fmt.Errorf("copy of the state machine is at index %d, before the durable index %d", snap.Index, m.Snapshot.Metadata.Index)
	}
	p.hold.Store(snap.Index)
	conf := snap.ConfState
	if len(conf) == 0 {
		if conf, err = m.Snapshot.Metadata.ConfState.Marshal(); err != nil {
			return err
		}
	}
	if err := p.isIn(conf); err != nil {
		return err
	}
	p.log.Info("sending snapshot", "index", snap.Index, "bytes", snap.Size)
	start := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stuck := time.AfterFunc(p.t.cfg.SnapshotTimeout, func() { cancel(errors.New("no progress")) })
	defer stuck.Stop()

	st, err := p.client.Snapshot(ctx)
	if err != nil {
		return err
	}
	err = st.Send(&pb.SnapshotPart{Hello: p.t.hello(p.id), Header: &pb.SnapshotHeader{
		Index: snap.Index, Term: snap.Term, Conf: conf, Size: uint64(snap.Size), SenderTerm: m.Term,
	}})
	if err == nil {
		err = p.stream(&snap, st.Send, func() error {
			stuck.Reset(p.t.cfg.SnapshotTimeout)
			if p.t.node.term() != m.Term {
				return errors.New("this node's term as leader is over")
			}
			return nil
		})
	}
	if err != nil && !errors.Is(err, io.EOF) { // EOF: the peer has ended the stream and says why
		return errors.Join(err, context.Cause(ctx))
	}
	if _, err := st.CloseAndRecv(); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	p.log.Info("sent snapshot", "index", snap.Index, "bytes", snap.Size, "took", time.Since(start))
	return nil
}

// isIn refuses a copy from before the peer became a member: Raft there would turn it down.
func (p *peer) isIn(conf []byte) error {
	var c raftpb.ConfState
	if err := c.Unmarshal(conf); err != nil {
		return fmt.Errorf("membership in the copy of the state machine: %w", err)
	}
	if !slices.Contains(slices.Concat(c.Voters, c.Learners, c.VotersOutgoing, c.LearnersNext), p.id) {
		return errors.New("the newest durable copy is from before the peer became a member")
	}
	return nil
}

// stream sends the data and its checksum. It asks before each part whether to go on.
func (p *peer) stream(snap *Snapshot, send func(*pb.SnapshotPart) error, goOn func() error) error {
	sum, left := xxhash.New(), snap.Size
	for left > 0 {
		if err := goOn(); err != nil {
			return err
		}
		if !p.t.cfg.Link(p.t.cfg.NodeID, p.id) {
			return errors.New("link is cut")
		}
		part := make([]byte, min(left, snapshotPartBytes)) // gRPC may keep it after Send
		if _, err := io.ReadFull(snap, part); err != nil {
			return fmt.Errorf("read copy of the state machine, %d bytes before its end: %w", left, noEOF(err))
		}
		sum.Write(part)
		if err := send(&pb.SnapshotPart{Data: part}); err != nil {
			return err
		}
		left -= int64(len(part))
	}
	return send(&pb.SnapshotPart{End: &pb.SnapshotEnd{Checksum: sum.Sum64()}})
}

// noEOF keeps the end of a file from being taken for the end of a stream.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
