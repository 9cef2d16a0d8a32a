package test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"geogate/configs"
	"geogate/test/cluster"
)

// TestBadRequestsAreRefusedAndChangeNothing sends what a mistaken client might.
func TestBadRequestsAreRefusedAndChangeNothing(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:1]})
	us := c.Client("us-east")
	if _, err := put(t.Context(), us, "k", "kept", "ASYNC", 0); err != nil {
		t.Fatal(err)
	}
	before, err := c.Leader("us-east").Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kv := pb.NewKVClient(us.ActiveConnection())
	many := make([]*pb.RequestOp, 129)
	for i := range many {
		many[i] = &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte{byte(i + 1)}}}}
	}
	for name, c := range map[string]struct {
		send func(ctx context.Context) error
		code codes.Code
		want []string
	}{
		"a value over 1.5 MiB": {func(ctx context.Context) error {
			_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: make([]byte, 1536<<10+1)})
			return err
		}, codes.InvalidArgument, []string{"request is too large"}},
		"an empty key": {func(ctx context.Context) error {
			_, err := kv.Put(ctx, &pb.PutRequest{Value: []byte("v")})
			return err
		}, codes.InvalidArgument, []string{"key is not provided"}},
		"too many operations": {func(ctx context.Context) error {
			_, err := kv.Txn(ctx, &pb.TxnRequest{Success: many})
			return err
		}, codes.InvalidArgument, []string{"too many operations"}},
		"an unknown policy": {func(ctx context.Context) error {
			ctx = metadata.AppendToOutgoingContext(ctx, "geogate-policy", "SOMETIMES")
			_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte("v")})
			return err
		}, codes.InvalidArgument, []string{"SOMETIMES", "ALL, QUORUM, ANY, ASYNC"}},
		"a timeout that is none": {func(ctx context.Context) error {
			ctx = metadata.AppendToOutgoingContext(ctx, "geogate-timeout", "soon")
			_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte("v")})
			return err
		}, codes.InvalidArgument, []string{"soon"}},
		"a policy that this cluster can't meet": {func(ctx context.Context) error {
			ctx = metadata.AppendToOutgoingContext(ctx, "geogate-policy", "ANY")
			_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte("v")})
			return err
		}, codes.Unavailable, []string{"ANY"}},
		"a lease that does not exist": {func(ctx context.Context) error {
			_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("k"), Lease: 77})
			return err
		}, codes.NotFound, []string{rpctypes.ErrLeaseNotFound.Error()}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := c.send(ctx)
		cancel()
		if status.Code(err) != c.code {
			t.Errorf("%s: got %v, want code %s", name, err, c.code)
		}
		for _, w := range c.want {
			if !strings.Contains(status.Convert(err).Message(), w) {
				t.Errorf("%s: the error does not say %q: %v", name, w, err)
			}
		}
	}
	after, err := c.Leader("us-east").Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := get(t, us, "k"); v != "kept" || after.Revision != before.Revision || after.Digest != before.Digest {
		t.Errorf("refused requests changed something: k is %q, revision %d to %d", v, before.Revision, after.Revision)
	}
}

// TestTheLargestValueReachesEveryDatacenter writes the most that is allowed, which no single message holds; and so
// do a key as large and its deletion.
func TestTheLargestValueReachesEveryDatacenter(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:2]})
	value := make([]byte, 1536<<10-100)
	for i := range value {
		value[i] = byte(i * i >> 3)
	}
	if _, err := put(t.Context(), c.Client("us-east"), "large", string(value), "ALL", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if v, _ := get(t, c.Client("eu-west"), "large"); v != string(value) {
		t.Errorf("eu-west has %d other bytes", len(v))
	}
	key := strings.Repeat("k", 1<<20) // what it leaves behind is longer than the database takes as a key
	if _, err := put(t.Context(), c.Client("us-east"), key, "v", "ALL", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Client("us-east").Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t.Context(), c.Client("us-east"), "after", "v", "ALL", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if v, ok := get(t, c.Client("eu-west"), key); ok {
		t.Errorf("eu-west has the long key still: %q", v)
	}
}

// TestBadStarts gives a node what it must not start with; each error says what to do, and the data stays.
func TestBadStarts(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:1]})
	us := c.Client("us-east")
	if _, err := put(t.Context(), us, "k", "kept", "ASYNC", 0); err != nil {
		t.Fatal(err)
	}
	p := c.Node("us-east", "n0")

	t.Run("a port in use", func(t *testing.T) {
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", p.Spec.Client)
		if err != nil {
			t.Fatal(err)
		}
		p.Start()
		log, err := p.WaitExit(20 * time.Second)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		wantFailure(t, err, log, 1, p.Spec.Client, "in use")
		p.Start()
		c.Leader("us-east")
	})

	t.Run("the data directory of a running node", func(t *testing.T) {
		out, err := serve(t, c, func(topology *configs.Topology) {
			n := &topology.Datacenters[0].Nodes[0]
			n.Client, n.Raft, n.Admin, n.NATS = c.FreeAddr(), c.FreeAddr(), c.FreeAddr(), c.FreeAddr()
		})
		if err == nil || !strings.Contains(out, p.Spec.Dir) {
			t.Errorf("a second node started on the data of a running one, or did not name its directory: %v\n%s", err, out)
		}
	})

	t.Run("the data directory of another cluster", func(t *testing.T) {
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
		c.Topology.Cluster = "another"
		c.WriteTopology()
		p.Start()
		log, err := p.WaitExit(20 * time.Second)
		wantFailure(t, err, log, 1, p.Spec.Dir, "cluster")
		c.Topology.Cluster = "test"
		c.WriteTopology()
		p.Start()
		c.Leader("us-east")
	})

	t.Run("a typo in the topology", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "typo.yaml")
		if err := os.WriteFile(path, []byte("cluster: x\npolicy:\n  defualt: ALL\ndatacenters: []\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(cluster.Binary(t), "config", "check", path).CombinedOutput()
		wantFailure(t, err, string(out), 1, path+":3", "defualt", "default")
		out, err = exec.Command(cluster.Binary(t), "serve", "--config", path).CombinedOutput()
		wantFailure(t, err, string(out), 1, path+":3", "defualt")
	})

	t.Run("bad usage", func(t *testing.T) {
		out, err := exec.Command(cluster.Binary(t), "serve").CombinedOutput()
		wantFailure(t, err, string(out), 2, "--config")
	})

	if v, _ := get(t, c.Client("us-east"), "k"); v != "kept" {
		t.Errorf("after all that, k is %q", v)
	}
}

// serve runs a changed copy of the topology until it ends or ten seconds are over.
func serve(t *testing.T, c *cluster.Cluster, edit func(*configs.Topology)) (string, error) {
	t.Helper()
	raw, err := c.Topology.Encode()
	if err != nil {
		t.Fatal(err)
	}
	changed, err := configs.Parse("copy", raw)
	if err != nil {
		t.Fatal(err)
	}
	edit(changed)
	if raw, err = changed.Encode(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy.yaml")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, cluster.Binary(t), "serve", "--config", path).CombinedOutput()
	if ctx.Err() != nil {
		err = nil // it was running
	}
	return string(out), err
}

func wantFailure(t *testing.T, err error, output string, code int, parts ...string) {
	t.Helper()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		t.Errorf("ended with %v, want exit code %d:\n%s", err, code, output)
	}
	for _, part := range parts {
		if !strings.Contains(output, part) {
			t.Errorf("the error does not mention %q:\n%s", part, output)
		}
	}
}
