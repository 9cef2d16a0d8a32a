package test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"geogate/test/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

// receipt is what a write's trailers said.
type receipt struct {
	token   string
	policy  string
	weaker  string // the policy that took its place
	ackedBy []string
}

// revision is the origin revision in the token.
func (r receipt) revision() (rev int64) {
	if i := strings.LastIndexByte(r.token, ':'); i >= 0 {
		_, _ = fmt.Sscan(r.token[i+1:], &rev)
	}
	return rev
}

// put writes under a policy, through plain gRPC so that the trailers can be read. An empty policy asks for none.
func put(ctx context.Context, c *clientv3.Client, key, value, policy string, timeout time.Duration) (receipt, error) {
	var md []string
	if policy != "" {
		md = append(md, "geogate-policy", policy)
	}
	if timeout != 0 {
		md = append(md, "geogate-timeout", timeout.String())
	}
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, md...), 30*time.Second)
	defer cancel()
	var trailer metadata.MD
	_, err := pb.NewKVClient(c.ActiveConnection()).Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(value)}, grpc.Trailer(&trailer), grpc.WaitForReady(true))
	first := func(k string) string {
		if v := trailer.Get(k); len(v) > 0 {
			return v[0]
		}
		return ""
	}
	r := receipt{token: first("geogate-token"), policy: first("geogate-policy"), weaker: first("geogate-degraded")}
	if a := first("geogate-acked-by"); a != "" {
		r.ackedBy = strings.Split(a, ",")
	}
	return r, err
}

// get reads a key as the datacenter's node has it now.
func get(t *testing.T, c *clientv3.Client, key string) (value string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	resp, err := c.Get(ctx, key)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	if len(resp.Kvs) == 0 {
		return "", false
	}
	return string(resp.Kvs[0].Value), true
}
