package gateway

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/replication/policy"
)

func putReq(key string) *pb.PutRequest {
	return &pb.PutRequest{Key: []byte(key), Value: []byte("v")}
}

// putFor writes with metadata and returns the trailers.
func putFor(ctx context.Context, kv pb.KVClient, key string) (metadata.MD, error) {
	var trailer metadata.MD
	_, err := kv.Put(ctx, putReq(key), grpc.Trailer(&trailer))
	return trailer, err
}

func TestReceiptOfAsync(t *testing.T) {
	s := newSite(t, 1, nil)
	md, err := putFor(testContext(t), s.kv(0), "a")
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		trailerToken: "dc-a:0:2", metaPolicy: "ASYNC", trailerAckedBy: "dc-a", trailerAckMS: "0", trailerChanged: "[]",
	} {
		if got := value(md, key); got != want {
			t.Errorf("%s: got %s, want %s", key, got, want)
		}
	}
}

func TestPolicyWaitsForPeers(t *testing.T) {
	for node, name := range []string{"at the leader", "at another node"} {
		t.Run(name, func(t *testing.T) { testPolicyWaits(t, node) })
	}
}

func testPolicyWaits(t *testing.T, node int) {
	s := newSite(t, 2, nil)
	type answer struct {
		md  metadata.MD
		err error
	}
	done := make(chan answer, 1)
	kv, ctx := s.kv(node), testContext(t, metaPolicy, "quorum")
	go func() {
		md, err := putFor(ctx, kv, "a")
		done <- answer{md, err}
	}()
	eventually(t, "the write waits", func() bool { s.peers.mu.Lock(); defer s.peers.mu.Unlock(); return s.peers.waits == 1 })
	s.peers.ack("dc-c", 1)
	select {
	case a := <-done:
		t.Fatalf("answered before a peer had it: %v", a)
	default:
	}
	s.peers.ack("dc-c", 2)
	a := <-done
	if a.err != nil || value(a.md, trailerAckedBy) != "dc-a,dc-c" || value(a.md, metaPolicy) != "QUORUM" {
		t.Errorf("got %v, %v", a.md, a.err)
	}
}

func TestUnreachableFailsBeforeTheWrite(t *testing.T) {
	s := newSite(t, 1, nil)
	s.peers.fail("dc-b", "no heartbeat for 3s")
	md, err := putFor(testContext(t, metaPolicy, "ALL"), s.kv(0), "a")
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "nothing was written") ||
		!strings.Contains(err.Error(), "dc-b is down (no heartbeat for 3s)") {
		t.Errorf("got %v", err)
	}
	if n := s.data.attempts(); n != 0 {
		t.Errorf("%d writes reached the datacenter", n)
	}
	if value(md, metaPolicy) != "ALL" || value(md, trailerToken) != "[]" {
		t.Errorf("trailers %v", md)
	}
	s.peers.ack("dc-c", 9) // QUORUM can still be met
	if _, err := putFor(testContext(t, metaPolicy, "QUORUM"), s.kv(0), "a"); err != nil {
		t.Error(err)
	}
}

func TestUnreachableWaitWrites(t *testing.T) {
	s := newSite(t, 1, func(c *Config) {
		c.Keyspaces = []Keyspace{{Policy: new(policy.All), OnUnreachable: UnreachableWait, Timeout: 20 * time.Millisecond}}
	})
	s.peers.fail("dc-b", "gone")
	s.peers.ack("dc-c", 99)
	md, err := putFor(testContext(t), s.kv(0), "a")
	if status.Code(err) != codes.FailedPrecondition || s.nodes[0].fake.Revision() != 2 {
		t.Errorf("got %v at revision %d", err, s.nodes[0].fake.Revision())
	}
	if got := value(md, trailerAckedBy); got != "dc-a,dc-c" {
		t.Errorf("acked by %s", got)
	}
}

// The proof of the code in codes.go: the real clientv3 must not send a write again whose policy was not met,
// and must hand on what happened.
func TestNotMetIsNotRepeatedByClientv3(t *testing.T) {
	s := newSite(t, 1, nil)
	c := s.client(0)
	ctx := testContext(t, metaPolicy, "ALL", metaTimeout, "20ms")
	for name, call := range map[string]func() error{
		"put":    func() error { _, err := c.Put(ctx, "a", "1"); return err },
		"delete": func() error { _, err := c.Delete(ctx, "a"); return err },
		"txn":    func() error { _, err := c.Txn(ctx).Then(clientv3.OpPut("a", "2")).Commit(); return err },
	} {
		if name == "delete" {
			if _, err := c.Put(testContext(t), "a", "0"); err != nil {
				t.Fatal(err)
			}
		}
		before := s.data.attempts()
		err := call()
		if n := s.data.attempts() - before; n != 1 {
			t.Errorf("%s: %d attempts reached the datacenter, want 1", name, n)
		}
		if ctx.Err() != nil {
			t.Fatal(ctx.Err())
		}
		if st, ok := status.FromError(err); !ok || st.Code() != codes.FailedPrecondition || len(st.Details()) != 1 ||
			!strings.Contains(st.Message(), "committed in dc-a as token dc-a:0:") || !strings.Contains(st.Message(), "will still replicate") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestUnknownOutcomeIsNotRepeatedByClientv3(t *testing.T) {
	s := newSite(t, 1, nil)
	s.data.mu.Lock()
	s.data.refuse = []error{dc.ErrUnknownOutcome, dc.ErrUnknownOutcome}
	s.data.mu.Unlock()
	if _, err := s.client(0).Put(testContext(t), "a", "1"); !errors.Is(err, rpctypes.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	if n := s.data.attempts(); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
}

// answering is a server that answers every put with one error.
type answering struct {
	pb.UnimplementedKVServer
	code  codes.Code
	calls atomic.Int64
}

func (a *answering) Put(context.Context, *pb.PutRequest) (*pb.PutResponse, error) {
	a.calls.Add(1)
	return nil, status.Error(a.code, "geogate: something of its own")
}

// Why codes.go maps as it does: which codes of a put make clientv3 send it again while its caller waits.
func TestWhatClientv3Repeats(t *testing.T) {
	for code, repeated := range map[codes.Code]bool{
		codes.DeadlineExceeded: true, codes.Canceled: true,
		codes.Unavailable: false, codes.FailedPrecondition: false, codes.InvalidArgument: false, codes.Unknown: false,
	} {
		t.Run(code.String(), func(t *testing.T) {
			line := bufconn.Listen(1 << 16)
			srv, kv := grpc.NewServer(), &answering{code: code}
			pb.RegisterKVServer(srv, kv)
			go func() { _ = srv.Serve(line) }()
			defer srv.Stop()
			c, err := clientv3.New(clientv3.Config{
				Endpoints: []string{"http://node"}, Logger: zap.NewNop(), MaxUnaryRetries: 3,
				DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					return line.DialContext(ctx)
				})},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if _, err = c.Put(testContext(t), "a", "1"); status.Code(err) != code {
				t.Errorf("got %v", err)
			}
			if n := kv.calls.Load(); n > 1 != repeated {
				t.Errorf("%d attempts", n)
			}
		})
	}
}

func TestNothingChangedNeedsNoWait(t *testing.T) {
	s := newSite(t, 1, nil)
	ctx := testContext(t)
	if _, err := putFor(ctx, s.kv(0), "a"); err != nil {
		t.Fatal(err)
	}
	var md metadata.MD
	resp, err := s.kv(0).DeleteRange(testContext(t, metaPolicy, "ALL"), &pb.DeleteRangeRequest{Key: []byte("none")}, grpc.Trailer(&md))
	if err != nil || resp.Deleted != 0 {
		t.Fatal(resp, err)
	}
	if value(md, trailerChanged) != "false" || value(md, trailerToken) != "dc-a:0:2" || value(md, trailerAckedBy) != "dc-a" {
		t.Errorf("trailers %v", md)
	}
}

func TestBadMetadata(t *testing.T) {
	s := newSite(t, 1, func(c *Config) { c.MaxPolicyTimeout = time.Minute })
	for _, c := range [][3]string{
		{metaPolicy, "most", "ALL, QUORUM, ANY, ASYNC"},
		{metaPolicy, "", "ALL, QUORUM, ANY, ASYNC"},
		{metaTimeout, "5", "500ms or 2s"},
		{metaTimeout, "-1s", "above 0"},
		{metaTimeout, "2m", "up to 1m0s"},
	} {
		_, err := putFor(testContext(t, c[0], c[1]), s.kv(0), "a")
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), c[2]) || !strings.Contains(err.Error(), c[0]) {
			t.Errorf("%s=%q: got %v", c[0], c[1], err)
		}
	}
	if n := s.data.attempts(); n != 0 {
		t.Errorf("%d writes reached the datacenter", n)
	}
}

func TestClientLeavesDuringThePolicyWait(t *testing.T) {
	s := newSite(t, 1, nil)
	ctx, cancel := context.WithCancel(testContext(t, metaPolicy, "ALL"))
	done := make(chan error, 1)
	kv := s.kv(0)
	go func() {
		_, err := putFor(ctx, kv, "a")
		done <- err
	}()
	eventually(t, "the write waits", func() bool { s.peers.mu.Lock(); defer s.peers.mu.Unlock(); return s.peers.waits == 1 })
	late := &s.nodes[0].overdue
	eventually(t, "its gateway knows", func() bool { late.mu.Lock(); defer late.mu.Unlock(); return late.first != nil })
	cancel()
	if err := <-done; status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	failures := s.nodes[0].metrics.failures.WithLabelValues("ALL", failCanceled)
	eventually(t, "it is counted", func() bool { return counted(t, failures) == 1 })
}

// A client that leaves between the commit and the question to the peers leaves nothing behind that waits for them.
func TestClientLeavesAsThePeersAreAsked(t *testing.T) {
	s := newSite(t, 1, nil)
	ctx, leave := context.WithCancel(testContext(t, metaPolicy, "ALL"))
	defer leave()
	failed := s.nodes[0].metrics.requests.WithLabelValues(methodNames[methodPut], "ALL", codes.Unavailable.String())
	noticed := make(chan struct{})
	s.peers.asking = func() {
		leave()
		<-noticed
	}
	if _, err := putFor(ctx, s.kv(0), "a"); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	eventually(t, "the gateway notices", func() bool { return counted(t, failed) == 1 })
	close(noticed)
	eventually(t, "nobody waits", func() bool {
		s.peers.mu.Lock()
		defer s.peers.mu.Unlock()
		return s.peers.waits == 1 && s.peers.given == 1
	})
}

func TestCompactHasNoPolicy(t *testing.T) {
	s := newSite(t, 1, func(c *Config) { c.Keyspaces = []Keyspace{{Policy: new(policy.All)}} })
	s.peers.ack("dc-b", 99)
	s.peers.ack("dc-c", 99)
	ctx := testContext(t)
	if _, err := putFor(ctx, s.kv(0), "a"); err != nil {
		t.Fatal(err)
	}
	s.peers.fail("dc-b", "gone")
	if _, err := s.kv(0).Compact(ctx, &pb.CompactionRequest{Revision: 2}); err != nil {
		t.Error(err)
	}
}
