package bench

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// renewals is how often a client's deadline is set anew in the time that a request may take. A timer for each request costs
// more than the request's own bytes.
const renewals = 20

// connect opens a connection as applications have it, but without anything that would try a failed request again: it is to be
// counted. This and [client] are what etcd's clientv3 does for a request, less its own retries and conversions: the load
// generator shares a machine with what it measures, and takes as little of it as it can.
func connect(endpoint string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableRetry(), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
}

// client sends one request after the other, in the same memory. It belongs to one goroutine.
type client struct {
	config *Config
	kv     pb.KVClient
	parent context.Context
	key    []byte // the prefix, and room for the rest

	put *pb.PutRequest
	get *pb.RangeRequest
	txn *pb.TxnRequest

	ctx     context.Context // of the requests until the next renewal
	cancel  context.CancelFunc
	renewed time.Time
}

func newClient(ctx context.Context, c *Config, conn *grpc.ClientConn) *client {
	if c.Policy != "" && c.Op != Get {
		ctx = metadata.AppendToOutgoingContext(ctx, PolicyHeader, c.Policy)
	}
	cl := &client{
		config: c, kv: pb.NewKVClient(conn), parent: ctx, key: []byte(c.Prefix),
		put: &pb.PutRequest{Value: bytes.Repeat([]byte("x"), c.ValueBytes)},
		get: &pb.RangeRequest{Serializable: c.Serializable},
	}
	// The comparison reads the key and always holds, so that every transaction writes, at whatever rate others do.
	holds := &pb.Compare{Target: pb.Compare_VERSION, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{Version: -1}}
	cl.txn = &pb.TxnRequest{
		Compare: []*pb.Compare{holds},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: cl.put}}},
	}
	cl.renew(time.Now())
	return cl
}

func (c *client) close() { c.cancel() }

func (c *client) renew(now time.Time) {
	if c.cancel != nil {
		c.cancel()
	}
	c.renewed = now
	c.ctx, c.cancel = context.WithDeadline(c.parent, now.Add(c.config.Timeout+c.config.Timeout/renewals))
}

// randomKey is any of the keys.
func (c *client) randomKey() int64 { return rand.Int64N(int64(c.config.Keys)) }

// keyed is the name of a key, valid until the next one.
func (c *client) keyed(n int64) []byte {
	b := c.key[:len(c.config.Prefix)]
	for least := int64(10_000_000); least > n && least > 1; least /= 10 {
		b = append(b, '0')
	}
	c.key = strconv.AppendInt(b, n, 10)
	return c.key
}

// request does the run's operation with a key, and returns once it is answered. It has the run's timeout, and up to a
// twentieth more.
func (c *client) request(began time.Time, n int64) error {
	if began.Sub(c.renewed) > c.config.Timeout/renewals {
		c.renew(began)
	}
	err := c.send(c.keyed(n))
	if c.ctx.Err() != nil {
		c.renew(time.Now())
	}
	return err
}

func (c *client) send(key []byte) error {
	switch c.config.Op {
	case Put:
		c.put.Key = key
		_, err := c.kv.Put(c.ctx, c.put)
		return err
	case Txn:
		c.put.Key, c.txn.Compare[0].Key = key, key
		resp, err := c.kv.Txn(c.ctx, c.txn)
		if err == nil && !resp.Succeeded {
			return fmt.Errorf("%w: %s has a version of -1 or less", errCompare, key)
		}
		return err
	}
	c.get.Key = key
	_, err := c.kv.Range(c.ctx, c.get)
	return err
}
