package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/gateway/geopb"
)

func TestFollowerForwards(t *testing.T) {
	s := newSite(t, 3, nil)
	s.peers.ack("dc-b", 99)
	md, err := putFor(testContext(t, metaPolicy, "ANY"), s.kv(2), "a")
	if err != nil {
		t.Fatal(err)
	}
	if value(md, trailerToken) != "dc-a:0:2" || value(md, trailerAckedBy) != "dc-a,dc-b" || value(md, metaPolicy) != "ANY" {
		t.Errorf("trailers %v", md)
	}
	if len(md[trailerServedBy]) != 0 {
		t.Errorf("an internal trailer reached the client: %v", md)
	}
	c, ctx := s.client(1), testContext(t)
	if _, err := c.Put(ctx, "none", "", clientv3.WithIgnoreValue()); !errors.Is(err, rpctypes.ErrKeyNotFound) {
		t.Errorf("the leader's error: %v", err)
	}
	if del, err := c.Delete(ctx, "a"); err != nil || del.Deleted != 1 {
		t.Errorf("delete: %v, %v", del, err)
	}
	if txn, err := c.Txn(ctx).Then(clientv3.OpPut("x", "1")).Commit(); err != nil || !txn.Succeeded {
		t.Errorf("txn: %v, %v", txn, err)
	}
	if _, err := c.Compact(ctx, 3); err != nil {
		t.Errorf("compact: %v", err)
	}
	if n := counted(t, s.nodes[1].metrics.forwarded); n != 4 {
		t.Errorf("%v forwarded, want 4", n)
	}
}

// A leader of a build without trunks gets a call for each write.
func TestForwardToAnOlderBuild(t *testing.T) {
	s := newSite(t, 2, nil)
	older := grpc.NewServer()
	pb.RegisterKVServer(older, kvServer{Server: s.nodes[0].Server})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = older.Serve(l) }() // ends with Stop
	defer older.Stop()
	f := s.nodes[1].forward
	f.options = []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	to, err := f.conn(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	resp, trailer, fate, err := opPut.remote(testContext(t), time.Minute, f, to, &pb.PutRequest{Key: []byte("a")})
	if err != nil || fate != fateAnswered || resp.GetHeader().GetRevision() != 2 || value(trailer, trailerToken) != "dc-a:0:2" {
		t.Errorf("%v, fate %d, trailers %v, %v", resp, fate, trailer, err)
	}
	_, _, fate, err = opPut.remote(testContext(t), time.Minute, f, to, &pb.PutRequest{})
	if fate != fateAnswered || !errors.Is(rpctypes.Error(err), rpctypes.ErrEmptyKey) {
		t.Errorf("a refusal: fate %d, %v", fate, err)
	}
}

func TestForwardedErrorsKeepTheirDetails(t *testing.T) {
	s := newSite(t, 2, nil)
	s.peers.ack("dc-b", 99)
	md, err := putFor(testContext(t, metaPolicy, "ALL", metaTimeout, "20ms"), s.kv(1), "a")
	if names, ok := notMetAckedBy(err); !ok || fmt.Sprint(names) != "[dc-a dc-b]" {
		t.Errorf("got %v", err)
	}
	if value(md, trailerToken) != "dc-a:0:2" || value(md, trailerAckedBy) != "dc-a,dc-b" {
		t.Errorf("trailers %v", md)
	}
	if n := s.data.attempts(); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
}

func TestForwardedIsNotForwardedAgain(t *testing.T) {
	s := newSite(t, 3, nil)
	_, err := putFor(testContext(t, metaForwarded, "2"), s.kv(2), "a")
	if !isNotLeader(err) || s.data.attempts() != 0 {
		t.Errorf("got %v after %d attempts", err, s.data.attempts())
	}
}

func TestNoLeaderFound(t *testing.T) {
	s := newSite(t, 2, func(c *Config) { c.RouteTimeout = 30 * time.Millisecond })
	s.data.lead(0)
	if _, err := putFor(testContext(t), s.kv(1), "a"); !errors.Is(rpctypes.Error(err), rpctypes.ErrNoLeader) {
		t.Errorf("no leader: %v", err)
	}
	s.data.lead(1)
	s.sever(s.nodes[0].addr, true)
	if _, err := putFor(testContext(t), s.kv(1), "a"); !errors.Is(rpctypes.Error(err), rpctypes.ErrNoLeader) {
		t.Errorf("leader that can't be reached: %v", err)
	}
	if n := s.data.attempts(); n != 0 {
		t.Errorf("%d attempts", n)
	}
}

func TestWriteWaitsForALeader(t *testing.T) {
	s := newSite(t, 2, nil)
	s.data.lead(0)
	done := make(chan error, 1)
	kv, ctx := s.kv(1), testContext(t)
	go func() {
		_, err := putFor(ctx, kv, "a")
		done <- err
	}()
	s.data.lead(1)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A write that certainly was not made goes to the next leader; the client sees one success.
func TestSupersededIsMadeElsewhere(t *testing.T) {
	for _, first := range []error{dc.ErrNotLeader, dc.ErrSuperseded} {
		s := newSite(t, 2, nil)
		s.data.mu.Lock()
		s.data.refuse = []error{fmt.Errorf("x: %w", first)}
		s.data.mu.Unlock()
		done := make(chan error, 1)
		kv, ctx := s.kv(0), testContext(t)
		go func() {
			_, err := putFor(ctx, kv, "a")
			done <- err
		}()
		eventually(t, "the first attempt", func() bool { return s.data.attempts() >= 1 })
		s.data.lead(2)
		if err := <-done; err != nil {
			t.Errorf("%v: %v", first, err)
		}
		if rev := s.nodes[0].fake.Revision(); rev != 2 {
			t.Errorf("%v: at revision %d, want 2", first, rev)
		}
	}
}

// The answer of a forwarded write is lost: its outcome is not known, so it must not be made again.
func TestLostAnswerIsNotRepeated(t *testing.T) {
	s := newSite(t, 2, nil)
	done := make(chan error, 1)
	kv, ctx := s.kv(1), testContext(t, metaPolicy, "ALL")
	go func() {
		_, err := putFor(ctx, kv, "a")
		done <- err
	}()
	eventually(t, "the leader waits for peers", func() bool { s.peers.mu.Lock(); defer s.peers.mu.Unlock(); return s.peers.waits == 1 })
	s.nodes[0].Kill()
	if err := <-done; !errors.Is(rpctypes.Error(err), rpctypes.ErrTimeoutDueToConnectionLost) {
		t.Errorf("got %v", err)
	}
	if n := s.data.attempts(); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
}

// Leadership moves while a write waits for its peers: the wait goes on at the new leader.
func TestWaitMovesWithLeadership(t *testing.T) {
	s := newSite(t, 3, nil)
	type answer struct {
		md  metadata.MD
		err error
	}
	done := make(chan answer, 1)
	kv, ctx := s.kv(0), testContext(t, metaPolicy, "QUORUM")
	go func() {
		md, err := putFor(ctx, kv, "a")
		done <- answer{md, err}
	}()
	waits := func(n int) func() bool {
		return func() bool { s.peers.mu.Lock(); defer s.peers.mu.Unlock(); return s.peers.waits >= n }
	}
	eventually(t, "the write waits", waits(1))
	s.data.lead(3)
	eventually(t, "the new leader waits", waits(2))
	s.peers.ack("dc-b", 2)
	if a := <-done; a.err != nil || value(a.md, trailerAckedBy) != "dc-a,dc-b" || value(a.md, trailerToken) != "dc-a:0:2" {
		t.Errorf("got %v, %v", a.md, a.err)
	}
	if n := s.data.attempts(); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
}

func TestGeoWait(t *testing.T) {
	s := newSite(t, 2, nil)
	ctx := testContext(t)
	if _, err := putFor(ctx, s.kv(0), "a"); err != nil {
		t.Fatal(err)
	}
	s.peers.ack("dc-b", 2)
	for i := range 2 {
		geo := geopb.NewGeoClient(s.conn(i))
		r, err := geo.Wait(ctx, &geopb.WaitRequest{Token: "dc-a:0:2", Policy: "quorum"})
		if err != nil || r.Token != "dc-a:0:2" || r.Policy != "QUORUM" || fmt.Sprint(r.AckedBy) != "[dc-a dc-b]" {
			t.Errorf("node %d: %v, %v", i, r, err)
		}
		if r, err := geo.Wait(ctx, &geopb.WaitRequest{Token: "dc-a:0:2"}); err != nil || r.Policy != "ASYNC" {
			t.Errorf("node %d, default policy: %v, %v", i, r, err)
		}
		var md metadata.MD
		_, err = geo.Wait(ctx, &geopb.WaitRequest{Token: "dc-a:0:2", Policy: "ALL", Timeout: durationpb.New(30 * time.Millisecond)}, grpc.Trailer(&md))
		if names, ok := notMetAckedBy(err); !ok || fmt.Sprint(names) != "[dc-a dc-b]" || value(md, trailerAckedBy) != "dc-a,dc-b" {
			t.Errorf("node %d, not met: %v, %v", i, md, err)
		}
		for _, c := range []struct {
			req  *geopb.WaitRequest
			code codes.Code
			text string
		}{
			{&geopb.WaitRequest{Token: "dc-a"}, codes.InvalidArgument, "ORIGIN:EPOCH:REVISION"},
			{&geopb.WaitRequest{Token: "dc-a:0:2", Policy: "most"}, codes.InvalidArgument, "ALL, QUORUM, ANY, ASYNC"},
			{&geopb.WaitRequest{Token: "dc-a:0:2", Timeout: durationpb.New(-1)}, codes.InvalidArgument, "above 0"},
			{&geopb.WaitRequest{Token: "dc-b:0:2"}, codes.FailedPrecondition, "was issued by dc-b"},
			{&geopb.WaitRequest{Token: "dc-a:0:3"}, codes.OutOfRange, "newest write of dc-a is 2"},
		} {
			if _, err := geo.Wait(ctx, c.req); status.Code(err) != c.code || !strings.Contains(err.Error(), c.text) {
				t.Errorf("node %d, %v: %v", i, c.req, err)
			}
		}
	}
}

func TestGeoStatus(t *testing.T) {
	s := newSite(t, 2, nil)
	ctx := testContext(t)
	if _, err := putFor(ctx, s.kv(0), "a"); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		st, err := geopb.NewGeoClient(s.conn(i)).Status(ctx, &geopb.StatusRequest{})
		if err != nil || st.Dc != "dc-a" || st.Node != uint64(i+1) || st.Leader != 1 || st.Vector["dc-a"] != 2 || !st.PeersKnown ||
			len(st.Peers) != 2 || st.Peers[0].AckedRevision == nil || st.Peers[0].LagTxns != nil {
			t.Errorf("node %d: %v, %v", i, st, err)
		}
	}
	s.data.lead(0)
	if st, err := geopb.NewGeoClient(s.conn(1)).Status(ctx, &geopb.StatusRequest{}); err != nil || st.PeersKnown {
		t.Errorf("without a leader: %v, %v", st, err)
	}
}

func TestGracefulStop(t *testing.T) {
	s := newSite(t, 1, nil)
	kv, ctx := s.kv(0), testContext(t, metaPolicy, "ANY")
	done := make(chan error, 1)
	go func() {
		_, err := putFor(ctx, kv, "a")
		done <- err
	}()
	watch, err := pb.NewWatchClient(s.conn(0)).Watch(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the write waits", func() bool { s.peers.mu.Lock(); defer s.peers.mu.Unlock(); return s.peers.waits == 1 })
	stopped := make(chan error, 1)
	go func() { stopped <- s.nodes[0].stop() }()
	if _, err := watch.Recv(); !errors.Is(rpctypes.Error(err), rpctypes.ErrStopped) {
		t.Errorf("the watch stream ended with %v", err)
	}
	s.peers.ack("dc-b", 2)
	if err := <-done; err != nil {
		t.Errorf("a request was not let finish: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestStopIsBounded(t *testing.T) {
	s := newSite(t, 1, func(c *Config) { c.StopTimeout = 20 * time.Millisecond })
	kv, ctx := s.kv(0), testContext(t, metaPolicy, "ANY")
	done := make(chan error, 1)
	go func() {
		_, err := putFor(ctx, kv, "a")
		done <- err
	}()
	eventually(t, "the write waits", func() bool { s.peers.mu.Lock(); defer s.peers.mu.Unlock(); return s.peers.waits == 1 })
	if err := s.nodes[0].stop(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
