package recipe

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

// Config is what recipes need of the gateway around them. All of it is required.
type Config struct {
	Dial func(ctx context.Context) (net.Conn, error) // a connection to the gateway
	// Outgoing is the metadata that goes with each request of a recipe, by the context of the call that wants it.
	Outgoing func(ctx context.Context) metadata.MD
	// Check refuses a request that the gateway would, before grpc's own bound does in other words: a recipe's requests
	// name its lock or election several times.
	Check    func(proto.Message) error
	Stopping <-chan struct{} // when closed, calls end
}

// Client is an etcd client of the gateway that it is a part of. What identifies a caller's connection, such as its
// certificate, does not come along; metadata does.
type Client struct {
	cfg  Config
	etcd *clientv3.Client   // set by Open, as end
	end  context.CancelFunc // of all that the client does
	busy underway
}

// tidyTime bounds how long recipes that are told to stop may take to take back what they have written. What they don't
// get done, the end of their lease does.
const tidyTime = time.Second

// NewClient starts nothing, and nothing can be asked before [Client.Open].
func NewClient(cfg Config) *Client { return &Client{cfg: cfg} }

// Open makes the client, which connects when it is first used.
func (c *Client) Open() (err error) {
	ctx, end := context.WithCancel(context.Background())
	c.etcd, err = clientv3.New(clientv3.Config{
		Context: ctx, Endpoints: []string{"http://this-node"}, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.cfg.Dial(ctx) }),
			grpc.WithChainUnaryInterceptor(c.check),
		},
	})
	if err != nil {
		end()
		return fmt.Errorf("client of the gateway itself: %w", err)
	}
	c.end = end
	return nil
}

// Stop lets calls end, which have been told to, while the gateway still answers them. After that they must not ask
// it anything: the client would wait for a gateway that answers, without a bound.
func (c *Client) Stop() {
	select {
	case <-c.busy.idle():
	case <-time.After(tidyTime):
	}
	c.end()
}

// Close ends the client.
func (c *Client) Close() {
	c.end()
	_ = c.etcd.Close() // it only reports that its context has ended
}

func (c *Client) check(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if m, ok := req.(proto.Message); ok {
		if err := c.cfg.Check(m); err != nil {
			return err
		}
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}

// begin is the context of a call: it ends with the gateway too.
func (c *Client) begin(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, c.cfg.Outgoing(ctx)))
	c.busy.add(1)
	done := sync.OnceFunc(func() {
		cancel()
		c.busy.add(-1)
	})
	go func() {
		select {
		case <-c.cfg.Stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, done
}
