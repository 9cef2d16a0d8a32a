package consensus

import (
	"context"
	"errors"
	"io"
	"net"

	"go.etcd.io/etcd/raft/v3"
	"go.etcd.io/etcd/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"geogate/consensus/direct"
	"geogate/consensus/pb"
)

// receiver is the receiving side of the transport. A peer that sends faster than the loop reads is held back by
// the flow control of its stream or connection.
type receiver struct {
	pb.UnimplementedPeerServer
	t *transport
}

// Messages receives one lane of one peer.
func (r *receiver) Messages(st grpc.BidiStreamingServer[pb.Envelope, pb.Hello]) error {
	env, err := st.Recv()
	if err != nil {
		return err
	}
	if err := r.t.check(env.Hello); err != nil {
		r.t.cfg.Logger.Warn("refused a peer's stream", "reason", status.Convert(err).Message())
		return err
	}
	from := env.Hello.From
	r.t.roll.hear(from, env.Hello.Log)
	hello, ticket := r.t.hello(from), &direct.Ticket{}
	hello.Log = r.t.node.own()
	if env.Hello.Direct && !r.t.cfg.streams {
		ticket = r.t.door.Issue()
		defer ticket.Close()
		hello.Ticket = ticket.Secret
	}
	if err := st.Send(hello); err != nil {
		return err
	}
	p := r.t.peer(from)
	if p == nil {
		return r.t.check(env.Hello)
	}
	ended := make(chan error, 2)
	r.t.running.Go(func() { ended <- r.receive(st, from) })
	for {
		select {
		case err := <-ended:
			return err
		case conn := <-ticket.Conn:
			context.AfterFunc(st.Context(), func() { _ = conn.Close() }) // which ends receiveDirect
			r.t.running.Go(func() { ended <- r.receiveDirect(st.Context(), conn, from) })
		case <-p.left: // it learns so at once, and not when it next has something to say
			return r.t.check(env.Hello)
		}
	}
}

// receiveDirect takes in messages until the connection ends.
func (r *receiver) receiveDirect(ctx context.Context, conn net.Conn, from uint64) error {
	return direct.Receive(conn, r.t.maxBytes(), func(b []byte) error { return r.message(ctx, from, b) })
}

// receive takes in messages until the stream ends.
func (r *receiver) receive(st grpc.BidiStreamingServer[pb.Envelope, pb.Hello], from uint64) error {
	for {
		env, err := st.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, b := range env.Messages {
			if err := r.message(st.Context(), from, b); err != nil {
				return err
			}
		}
	}
}

func (r *receiver) message(ctx context.Context, from uint64, b []byte) error {
	var m raftpb.Message
	if err := m.Unmarshal(b); err != nil {
		return status.Errorf(codes.InvalidArgument, "message can't be decoded: %v", err)
	}
	// A former leader passes on the requests for a read index that still reach it.
	if m.From != from && m.Type != raftpb.MsgReadIndex || m.To != r.t.cfg.NodeID {
		return status.Errorf(codes.InvalidArgument, "message from %x to %x on the stream from %x to %x", m.From, m.To, from, r.t.cfg.NodeID)
	}
	if !fromPeer(m.Type) {
		return status.Errorf(codes.InvalidArgument, "message of type %s may not come from a peer", m.Type)
	}
	if !r.t.cfg.Link(from, m.To) {
		return nil
	}
	r.t.node.pulse.heard(&m)
	if isBulk(&m) {
		return r.t.bulk.push(ctx, m)
	}
	return r.t.urgent.push(ctx, m)
}

// fromPeer says whether Raft expects this type of message from a peer on a stream of messages. Proposals are
// not forwarded, snapshots have a stream of their own, and what raft makes of a type that it does not know is not said.
func fromPeer(t raftpb.MessageType) bool {
	if _, known := raftpb.MessageType_name[int32(t)]; !known {
		return false
	}
	switch t {
	case raftpb.MsgProp, raftpb.MsgSnap, raftpb.MsgTransferLeader:
		return false
	}
	return !raft.IsLocalMsg(t)
}
