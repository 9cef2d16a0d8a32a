package gateway

import (
	"context"
	"fmt"
	"math"
	"net"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
)

const loopbackBytes = 256 << 10 // buffer of a connection in memory

// loopback is an etcd client of this very gateway, in memory. Locks and elections are recipes over etcd's client
// (client/v3/concurrency), so they need one.
type loopback struct {
	server *grpc.Server
	lines  *bufconn.Listener
	served chan struct{}
	client *clientv3.Client
}

// openLoopback serves the part of the API that the recipes use. What identifies a caller's connection, such as
// its certificate, does not come along; metadata does, see [Server.recipe].
func (s *Server) openLoopback() (*loopback, error) {
	l := &loopback{
		server: grpc.NewServer(grpc.MaxRecvMsgSize(s.cfg.MaxRequestBytes+grpcOverheadBytes), grpc.MaxSendMsgSize(math.MaxInt32)),
		lines:  bufconn.Listen(loopbackBytes), served: make(chan struct{}),
	}
	pb.RegisterKVServer(l.server, kvServer{Server: s})
	pb.RegisterWatchServer(l.server, watchServer{Server: s})
	pb.RegisterLeaseServer(l.server, leaseServer{Server: s})
	var err error
	l.client, err = clientv3.New(clientv3.Config{
		Endpoints: []string{"http://loopback"}, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return l.lines.DialContext(ctx)
		})},
	})
	if err != nil {
		return nil, fmt.Errorf("client of the gateway itself: %w", err)
	}
	go func() {
		defer close(l.served)
		_ = l.server.Serve(l.lines) // ends with close
	}()
	return l, nil
}

func (l *loopback) close() {
	_ = l.client.Close() // it only reports that its context has ended
	l.server.Stop()
	<-l.served
}

// recipe is the context of a lock or an election: it ends with the server too, and what the caller's metadata says
// (policy, timeout, credentials, hasleader) goes with each request that the recipe makes. A request id does not:
// it is of one write, and a recipe makes several.
func (s *Server) recipe(ctx context.Context) (context.Context, context.CancelFunc) {
	in, _ := metadata.FromIncomingContext(ctx)
	md := forwardable(in)
	delete(md, metaRequestID)
	delete(md, metaForwarded)
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, md))
	go func() {
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
