package gateway

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/consensus"
	"geogate/dc"
	"geogate/replication/event"
	"geogate/replication/policy"
)

// as is a context whose writes have a request id.
func as(ctx context.Context, id string, more ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, append([]string{metaRequestID, id}, more...)...)
}

// openDC runs a real datacenter of one node.
func openDC(t *testing.T, name string, peers ...string) *dc.DC {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d, err := dc.Open(dc.Config{
		Name: name, Peers: peers, Dir: t.TempDir(),
		Consensus: consensus.Config{
			ClusterID: 1, NodeID: 1, Members: []consensus.Member{{ID: 1, Addr: l.Addr().String()}}, Listener: l,
			TickInterval: 5 * time.Millisecond,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	eventually(t, "it leads", func() bool { _, leading := d.Leading(); return leading && d.Incarnation() != 0 })
	return d
}

func TestRequestIDWithClientv3(t *testing.T) {
	s := newRealSite(t)
	c, ctx := s.client(0), testContext(t)
	for range 3 {
		if r, err := c.Put(as(ctx, "put"), "a", "1", clientv3.WithPrevKV()); err != nil || r.Header.Revision != 2 || r.PrevKv != nil {
			t.Fatal(r, err)
		}
	}
	// The comparison holds no more after the first time; the answer is that of the first time.
	for range 3 {
		r, err := c.Txn(as(ctx, "txn")).If(clientv3.Compare(clientv3.Value("a"), "=", "1")).
			Then(clientv3.OpPut("a", "2", clientv3.WithPrevKV()), clientv3.OpGet("a")).Else(clientv3.OpPut("a", "wrong")).Commit()
		if err != nil || !r.Succeeded || r.Header.Revision != 3 || r.Header.ClusterId != 42 || len(r.Responses) != 2 ||
			string(r.Responses[0].GetResponsePut().PrevKv.Value) != "1" || string(r.Responses[1].GetResponseRange().Kvs[0].Value) != "2" {
			t.Fatal(r, err)
		}
	}
	for range 3 {
		if r, err := c.Delete(as(ctx, "delete"), "a"); err != nil || r.Deleted != 1 || r.Header.Revision != 4 {
			t.Fatal(r, err)
		}
	}
	_, err := c.Put(as(ctx, "put"), "a", "other")
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), `"put"`) {
		t.Errorf("an id with another request: %v", err)
	}
	if _, err := c.Delete(as(ctx, "put"), "a"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("an id with another kind of request: %v", err)
	}
	if r, err := c.Get(ctx, "a"); err != nil || r.Count != 0 || r.Header.Revision != 4 {
		t.Errorf("a refused request changed something: %v, %v", r, err)
	}
}

func TestReplayedReceipt(t *testing.T) {
	s := newRealSite(t)
	kv, ctx := s.kv(0), testContext(t)
	if _, err := putFor(ctx, kv, "before"); err != nil {
		t.Fatal(err)
	}
	first, err := putFor(as(ctx, "id"), kv, "a")
	if err != nil || len(first[trailerReplayed]) != 0 {
		t.Fatal(first, err)
	}
	if _, err := putFor(ctx, kv, "after"); err != nil {
		t.Fatal(err)
	}
	again, err := putFor(as(ctx, "id"), kv, "a")
	if err != nil || value(again, trailerReplayed) != "true" || value(again, trailerToken) != value(first, trailerToken) || len(again[trailerReduced]) != 0 {
		t.Errorf("trailers %v, %v, first %v", again, err, first)
	}
	large := &pb.PutRequest{Key: []byte("l"), Value: []byte(strings.Repeat("x", 2000)), PrevKv: true}
	for i, want := range []string{"[]", "[]", "true"} {
		id := "second"
		if i == 0 {
			id = "first"
		}
		var md metadata.MD
		resp, err := kv.Put(as(ctx, id), large, grpc.Trailer(&md))
		if err != nil || value(md, trailerReduced) != want || (resp.PrevKv != nil) != (i == 1) {
			t.Errorf("%d: %v, %v", i, md, err)
		}
	}
	// What changed nothing has no token of its own.
	del := &pb.DeleteRangeRequest{Key: []byte("none")}
	for _, want := range []string{"[]", "true"} {
		var md metadata.MD
		if _, err := kv.DeleteRange(as(ctx, "none"), del, grpc.Trailer(&md)); err != nil || value(md, trailerChanged) != "false" || value(md, trailerReplayed) != want {
			t.Errorf("%v, %v", md, err)
		}
	}
	// A refusal of this attempt says nothing of an earlier one.
	if _, err := putFor(as(ctx, "id", metaPolicy, "ALL"), kv, "a"); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "by this attempt") {
		t.Errorf("unreachable: %v", err)
	}
	// Refused before the commit: not remembered.
	if _, err := putFor(as(ctx, "new", metaPolicy, "ALL"), kv, "a"); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
	if md, err := putFor(as(ctx, "new"), kv, "a"); err != nil || len(md[trailerReplayed]) != 0 {
		t.Errorf("an id that was refused before: %v, %v", md, err)
	}
}

func TestBadRequestIDs(t *testing.T) {
	s := newSite(t, 1, nil)
	kv := s.kv(0)
	for name, ctx := range map[string]context.Context{
		"empty":    as(testContext(t), ""),
		"too long": as(testContext(t), strings.Repeat("x", dc.MaxRequestID+1)),
		"two":      as(as(testContext(t), "a"), "b"),
	} {
		if _, err := putFor(ctx, kv, "a"); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), metaRequestID) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := s.data.attempts(); n != 0 {
		t.Errorf("%d writes reached the datacenter", n)
	}
	if _, err := putFor(as(testContext(t), strings.Repeat("x", dc.MaxRequestID)), kv, "a"); err != nil {
		t.Error(err)
	}
}

// The retry waits for its own policy, which the first attempt did not ask for.
func TestReplayedWaitsForThePolicyOfTheRetry(t *testing.T) {
	d := openDC(t, "dc-a", "dc-b", "dc-c")
	s := newSite(t, 1, func(c *Config) { c.Datacenter, c.Inspector = Local{d}, Local{d} })
	kv := s.kv(0)
	if _, err := putFor(as(testContext(t), "id"), kv, "a"); err != nil {
		t.Fatal(err)
	}
	md, err := putFor(as(testContext(t), "id", metaPolicy, "ALL", metaTimeout, "30ms"), kv, "a")
	if !errorsAsNotMet(err) || value(md, trailerReplayed) != "true" || value(md, trailerToken) != "dc-a:0:2" || !strings.Contains(err.Error(), metaRequestID) {
		t.Errorf("%v, %v", md, err)
	}
	s.peers.ack("dc-b", 2)
	s.peers.ack("dc-c", 2)
	md, err = putFor(as(testContext(t), "id", metaPolicy, "ALL"), kv, "a")
	if err != nil || value(md, trailerAckedBy) != "dc-a,dc-b,dc-c" || value(md, trailerToken) != "dc-a:0:2" {
		t.Errorf("%v, %v", md, err)
	}
}

func errorsAsNotMet(err error) bool {
	_, ok := notMetAckedBy(err)
	return ok
}

// foreignPeers knows what the datacenters have of dc-a's writes.
type foreignPeers struct {
	fakeReplication
	thirdHas func() int64
}

func (f foreignPeers) Matrix() map[string]event.Vector {
	return map[string]event.Vector{"dc-b": {"dc-a": 1 << 40}, "dc-c": {"dc-a": f.thirdHas()}}
}

func (f foreignPeers) Check(policy.Policy) error { return nil }

// A request that dc-a committed is repeated at dc-b after it arrived there.
func TestReplayedInAnotherDatacenter(t *testing.T) {
	ctx := testContext(t)
	a, b := openDC(t, "dc-a", "dc-b", "dc-c"), openDC(t, "dc-b", "dc-a", "dc-c")
	if _, _, err := b.Put(ctx, putReq("own")); err != nil {
		t.Fatal(err)
	}
	_, made, err := a.Put(dc.WithRequestID(ctx, "id"), putReq("k"))
	if err != nil {
		t.Fatal(err)
	}
	frames, err := a.Frames("dc-a", 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		done, err := b.Propose(ctx, f)
		if err := errors.Join(err, <-done); err != nil {
			t.Fatal(err)
		}
	}
	third := int64(0)
	s := newSite(t, 1, func(c *Config) {
		c.Datacenter, c.Inspector = Local{b}, Local{b}
		fake := c.Replication.(fakeReplication)
		c.Replication = foreignPeers{fake, func() int64 {
			fake.mu.Lock()
			defer fake.mu.Unlock()
			return third
		}}
	})
	kv := s.kv(0)
	token := policy.Token{Origin: "dc-a", Revision: made.Revision}.String()
	for p, want := range map[string]string{"ASYNC": "dc-b,dc-a", "ANY": "dc-b,dc-a", "QUORUM": "dc-b,dc-a", "ALL": ""} {
		var md metadata.MD
		resp, err := kv.Put(as(testContext(t), "id", metaPolicy, p, metaTimeout, "50ms"), putReq("k"), grpc.Trailer(&md))
		if value(md, trailerToken) != token || value(md, trailerReplayed) != "true" || value(md, trailerAckedBy) != "dc-b,dc-a" {
			t.Errorf("%s: trailers %v", p, md)
		}
		if want == "" {
			if !errorsAsNotMet(err) {
				t.Errorf("%s: %v, %v", p, resp, err)
			}
			continue
		}
		if err != nil || resp.Header.Revision != b.Revision() {
			t.Errorf("%s: %v, %v at %d", p, resp, err, b.Revision())
		}
	}
	done := make(chan error, 1)
	go func() {
		md, err := putFor(as(testContext(t), "id", metaPolicy, "ALL"), kv, "k")
		if err == nil && value(md, trailerAckedBy) != "dc-b,dc-a,dc-c" {
			err = errors.New(value(md, trailerAckedBy))
		}
		done <- err
	}()
	s.peers.update(func() { third = made.Revision })
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := putFor(as(testContext(t), "id"), kv, "other"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("another request: %v", err)
	}
}
