package gateway

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// loopback is an etcd client of this very gateway, in memory. Locks and elections are recipes over etcd's client
// (client/v3/concurrency), so they need one. What identifies a caller's connection, such as its certificate,
// does not come along; metadata does, see [Server.recipe].
type loopback struct {
	client *clientv3.Client
	end    context.CancelFunc // of all that the client does
	busy   underway
}

// tidyTime bounds how long recipes that are told to stop may take to take back what they have written. What they don't
// get done, the end of their lease does.
const tidyTime = time.Second

func (s *Server) openLoopback() (*loopback, error) {
	ctx, end := context.WithCancel(context.Background())
	client, err := clientv3.New(clientv3.Config{
		Context: ctx, Endpoints: []string{"http://this-node"}, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return s.split.Dial(ctx)
		}), grpc.WithChainUnaryInterceptor(s.refuseLarge)},
	})
	if err != nil {
		end()
		return nil, fmt.Errorf("client of the gateway itself: %w", err)
	}
	return &loopback{client: client, end: end}, nil
}

// stop lets recipes end, which have been told to, while the gateway still answers them. After that they must not ask
// it anything: the client would wait for a gateway that answers, without a bound.
func (l *loopback) stop() {
	select {
	case <-l.busy.idle():
	case <-time.After(tidyTime):
	}
	l.end()
}

// underway counts what goes on.
type underway struct {
	mu   sync.Mutex
	n    int           // guarded by mu
	none chan struct{} // guarded by mu: closed when n falls to 0; nil while nobody asks
}

func (u *underway) add(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n += n; u.n == 0 && u.none != nil {
		close(u.none)
		u.none = nil
	}
}

// idle is closed once nothing goes on.
func (u *underway) idle() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n == 0 {
		done := make(chan struct{})
		close(done)
		return done
	}
	if u.none == nil {
		u.none = make(chan struct{})
	}
	return u.none
}

// refuseLarge refuses what the gateway would, before grpc's own bound does in other words: a recipe's requests name its
// lock or election several times.
func (s *Server) refuseLarge(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if m, ok := req.(proto.Message); ok {
		if err := checkSize(m, s.cfg.MaxRequestBytes); err != nil {
			return err
		}
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}

func (l *loopback) close() {
	l.end()
	_ = l.client.Close() // it only reports that its context has ended
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
	s.loop.busy.add(1)
	done := sync.OnceFunc(func() {
		cancel()
		s.loop.busy.add(-1)
	})
	go func() {
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, done
}
