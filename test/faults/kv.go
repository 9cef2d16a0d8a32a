//go:build linux

package main

import (
	"context"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"geogate/test/faults/check"
)

// kv asks one node, each request once: what an etcd client would do about a failure does not blur what the
// node answered.
type kv struct {
	node *node
	conn *grpc.ClientConn
	rpc  pb.KVClient
}

func (c *cluster) kv(n *node) (*kv, error) {
	conn, err := grpc.NewClient("passthrough:///"+n.spec.Client, c.dialOptions()...)
	if err != nil {
		return nil, err
	}
	return &kv{node: n, conn: conn, rpc: pb.NewKVClient(conn)}, nil
}

const (
	requestTimeout = 4 * time.Second
	policyTimeout  = 2500 * time.Millisecond
)

// receipt is what the trailers of a write say.
type receipt struct{ ackedBy []string }

// put writes a key under a policy.
func (k *kv) put(ctx context.Context, key, value, policy string) (receipt, error) {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx,
		"geogate-policy", policy, "geogate-timeout", policyTimeout.String()), requestTimeout)
	defer cancel()
	var trailer metadata.MD
	_, err := k.rpc.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(value)}, grpc.Trailer(&trailer))
	var r receipt
	if by := trailer.Get("geogate-acked-by"); len(by) > 0 && by[0] != "" {
		r.ackedBy = strings.Split(by[0], ",")
	}
	return r, err
}

// get is a linearizable read of a key.
func (k *kv) get(ctx context.Context, key string, within time.Duration) (value string, found bool, revision int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	resp, err := k.rpc.Range(ctx, &pb.RangeRequest{Key: []byte(key)})
	if err != nil {
		return "", false, 0, err
	}
	if len(resp.Kvs) > 0 {
		value, found = string(resp.Kvs[0].Value), true
	}
	return value, found, resp.Header.Revision, nil
}

// remove deletes a key in a datacenter, through whichever node takes it.
func (c *cluster) remove(ctx context.Context, dc, key string) (last error) {
	for _, n := range c.in(dc) {
		rctx, cancel := context.WithTimeout(asyncPolicy(ctx), requestTimeout)
		_, last = c.conns[n].rpc.DeleteRange(rctx, &pb.DeleteRangeRequest{Key: []byte(key)})
		cancel()
		if last == nil {
			return nil
		}
	}
	return last
}

func asyncPolicy(ctx context.Context) context.Context { return withPolicy(ctx, "ASYNC") }

func withPolicy(ctx context.Context, policy string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "geogate-policy", policy)
}

// outcome is what an answer to a write says about it; gateway/README.md lists the errors.
func outcome(err error) check.Outcome {
	if err == nil {
		return check.Acked
	}
	st, _ := status.FromError(err)
	switch text := st.Message(); {
	case strings.HasPrefix(text, "geogate: nothing was read or written"):
		return check.Refused
	case st.Code() == codes.FailedPrecondition && strings.HasPrefix(text, "geogate: nothing was written"):
		return check.Refused
	case st.Code() == codes.FailedPrecondition:
		return check.Committed
	case st.Code() != codes.Unavailable:
		return check.Unknown
	case strings.HasPrefix(text, "geogate: nothing was written"),
		strings.HasPrefix(text, "etcdserver: no leader"),
		strings.HasPrefix(text, "etcdserver: request timed out, possibly due to previous leader failure"),
		strings.Contains(text, "Error while dialing"):
		return check.Refused
	}
	return check.Unknown
}
