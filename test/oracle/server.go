package oracle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

const askTimeout = 20 * time.Second

// server is one of the two that are asked.
type server struct {
	name    string
	conn    *grpc.ClientConn
	streams []*watchStream
}

func dial(name, endpoint string) (*server, error) {
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &server{name: name, conn: conn}, nil
}

func (s *server) close() error { return s.conn.Close() }

// ask sends one request through plain gRPC, so that nothing is repeated or improved on the way.
func (s *server) ask(ctx context.Context, request proto.Message) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	kv, lease := pb.NewKVClient(s.conn), pb.NewLeaseClient(s.conn)
	switch r := request.(type) {
	case *pb.PutRequest:
		return kv.Put(ctx, r)
	case *pb.RangeRequest:
		return kv.Range(ctx, r)
	case streamed:
		return rangeStream(ctx, kv, r.RangeRequest)
	case *pb.DeleteRangeRequest:
		return kv.DeleteRange(ctx, r)
	case *pb.TxnRequest:
		return kv.Txn(ctx, r)
	case *pb.CompactionRequest:
		return kv.Compact(ctx, r)
	case *pb.LeaseGrantRequest:
		return lease.LeaseGrant(ctx, r)
	case *pb.LeaseRevokeRequest:
		return lease.LeaseRevoke(ctx, r)
	case *pb.LeaseTimeToLiveRequest:
		return lease.LeaseTimeToLive(ctx, r)
	case *pb.LeaseLeasesRequest:
		return lease.LeaseLeases(ctx, r)
	case *pb.LeaseKeepAliveRequest:
		stream, err := lease.LeaseKeepAlive(ctx)
		if err != nil {
			return nil, err
		}
		if err := stream.Send(r); err != nil {
			return nil, err
		}
		return stream.Recv()
	}
	return nil, fmt.Errorf("no call for %T", request)
}

// streamed asks for a range in parts.
type streamed struct{ *pb.RangeRequest }

// rangeStream puts the parts together. How large they are is the server's choice.
func rangeStream(ctx context.Context, kv pb.KVClient, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	stream, err := kv.RangeStream(ctx, r)
	if err != nil {
		return nil, err
	}
	whole := &pb.RangeResponse{}
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return whole, nil
		}
		if err != nil {
			return nil, err
		}
		proto.Merge(whole, part.GetRangeResponse())
	}
}
