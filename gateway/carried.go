package gateway

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/gateway/trunk"
)

// carried are the RPCs that come over trunks from the other nodes.
func (s *Server) carried() map[string]trunk.Handler {
	k := kvServer{Server: s}
	return map[string]trunk.Handler{
		pb.KV_Put_FullMethodName:         carry(k.Put),
		pb.KV_DeleteRange_FullMethodName: carry(k.DeleteRange),
		pb.KV_Txn_FullMethodName:         carry(k.Txn),
		pb.KV_Compact_FullMethodName:     carry(k.Compact),
	}
}

// message is a pointer to a generated struct.
type message[T any] interface {
	*T
	proto.Message
}

// carry makes a handler of an RPC.
func carry[Q any, P message[Q], R proto.Message](rpc func(context.Context, P) (R, error)) trunk.Handler {
	return func(ctx context.Context, request []byte) (proto.Message, error) {
		req := P(new(Q))
		if err := proto.Unmarshal(request, req); err != nil {
			return nil, status.Errorf(codes.Internal, "decode a carried request: %v", err)
		}
		return rpc(ctx, req)
	}
}

// carriedBy makes a call of the named RPC over a trunk, or by itself where the other node is of a build without them.
func carriedBy[Q proto.Message, R any, P message[R]](name string) func(context.Context, time.Duration, *forwarder, *neighbor, Q) (P, metadata.MD, fate, error) {
	return func(ctx context.Context, timeout time.Duration, f *forwarder, to *neighbor, req Q) (P, metadata.MD, fate, error) {
		resp := P(new(R))
		trailer, err := to.line.Call(ctx, timeout, name, f.metadata(ctx), req, resp)
		switch {
		case err == nil:
			return resp, trailer, fateAnswered, nil
		case errors.Is(err, trunk.ErrUnsupported):
			return alone(func(ctx context.Context, c grpc.ClientConnInterface, _ Q, o ...grpc.CallOption) (P, error) {
				return resp, c.Invoke(ctx, name, req, resp, o...)
			})(ctx, timeout, f, to, req)
		case errors.Is(err, trunk.ErrNotSent), isNotLeader(err):
			return nil, trailer, fateNotDone, err
		case errors.Is(err, trunk.ErrLost):
			return nil, trailer, fateUnknown, err
		}
		return nil, trailer, fateAnswered, err
	}
}

// alone makes a call that shares nothing with others.
func alone[Q, R any](call func(context.Context, grpc.ClientConnInterface, Q, ...grpc.CallOption) (R, error)) func(context.Context, time.Duration, *forwarder, *neighbor, Q) (R, metadata.MD, fate, error) {
	return func(ctx context.Context, timeout time.Duration, f *forwarder, to *neighbor, req Q) (R, metadata.MD, fate, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		var trailer metadata.MD
		var reached peer.Peer
		resp, err := call(f.outgoing(ctx), to, req, grpc.Trailer(&trailer), grpc.Peer(&reached))
		return resp, trailer, fateOf(err, trailer, &reached), err
	}
}
