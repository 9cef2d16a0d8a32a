package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/gateway/geopb"
)

func TestLeasesThroughAFollower(t *testing.T) {
	s := newSite(t, 3, nil)
	c, ctx := s.client(1), testContext(t)
	g, err := c.Grant(ctx, 60)
	if err != nil || g.TTL != 60 {
		t.Fatal(g, err)
	}
	ka, err := c.KeepAliveOnce(ctx, g.ID)
	if err != nil || ka.TTL != 60 || ka.ResponseHeader.ClusterId != 42 || ka.Revision == 0 {
		t.Errorf("keepalive: %v, %v", ka, err)
	}
	if _, err := c.KeepAliveOnce(ctx, 99); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("keepalive of no lease: %v", err)
	}
	if ttl, err := c.TimeToLive(ctx, g.ID); err != nil || ttl.TTL != 60 || ttl.GrantedTTL != 60 {
		t.Errorf("time to live: %v, %v", ttl, err)
	}
	if ttl, err := c.TimeToLive(ctx, 99); err != nil || ttl.TTL != -1 {
		t.Errorf("time to live of no lease: %v, %v", ttl, err)
	}
	if l, err := c.Leases(ctx); err != nil || len(l.Leases) != 1 || l.Leases[0].ID != g.ID {
		t.Errorf("leases: %v, %v", l, err)
	}
	if _, err := c.Revoke(ctx, g.ID); err != nil {
		t.Errorf("revoke: %v", err)
	}
	if _, err := c.Revoke(ctx, g.ID); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("revoked twice: %v", err)
	}
}

// What waits while a call is with the leader goes there together.
func TestKeepAlivesShareCalls(t *testing.T) {
	s := newSite(t, 2, nil)
	ctx := testContext(t)
	stream, err := pb.NewLeaseClient(s.conn(1)).LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const n = 1000
	sent := make(chan error, 1)
	go func() {
		for id := range int64(n) {
			if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	for id := range int64(n) {
		r, err := stream.Recv()
		if err != nil || r.ID != id || r.TTL != 0 {
			t.Fatalf("answer %d: %v, %v", id, r, err)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	s.data.mu.Lock()
	defer s.data.mu.Unlock()
	if s.data.renewCalls > n/2 {
		t.Errorf("%d calls for %d keepalives", s.data.renewCalls, n)
	}
	t.Logf("%d keepalives in %d calls", n, s.data.renewCalls)
}

// etcd's client gives up for good after any other code.
func TestKeepAliveStreamsEndWithUnavailable(t *testing.T) {
	for _, err := range []error{
		dc.ErrBusy, dc.ErrNotLeader, dc.ErrUnknownOutcome, context.Canceled, context.DeadlineExceeded, errors.New("what else"), ErrForwardedAstray,
	} {
		if got := status.Code(keepAliveStatus(err)); got != codes.Unavailable {
			t.Errorf("%v: %s", err, got)
		}
	}
	s := newSite(t, 1, func(c *Config) { c.RouteTimeout = 1 })
	s.data.lead(0)
	stream, err := pb.NewLeaseClient(s.conn(0)).LeaseKeepAlive(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("without a leader: %v", err)
	}
	_, err = geopb.NewGeoClient(s.conn(0)).RenewLeases(testContext(t), &geopb.RenewLeasesRequest{Ids: make([]int64, maxRenewals+1)})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("too many in one call: %v", err)
	}
}

func TestRealLeases(t *testing.T) {
	s := newRealSite(t)
	c, ctx := s.client(0), testContext(t)
	g, err := c.Grant(ctx, 600)
	if err != nil || g.TTL != 600 || g.ID <= 0 || g.Revision != 1 {
		t.Fatal(g, err)
	}
	if _, err := pb.NewLeaseClient(s.conn(0)).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: int64(g.ID), TTL: 5}); rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(rpctypes.ErrGRPCLeaseExist) {
		t.Errorf("granted twice: %v", err)
	}
	if _, err := c.Grant(ctx, 9_000_000_001); !errors.Is(err, rpctypes.ErrLeaseTTLTooLarge) {
		t.Errorf("too long: %v", err)
	}
	events := &eventQueue{from: c.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithCreatedNotify())}
	if r := <-events.from; !r.Created {
		t.Fatal(r)
	}
	for _, k := range []string{"b", "a"} {
		if _, err := c.Put(ctx, k, "", clientv3.WithLease(g.ID)); err != nil {
			t.Fatal(err)
		}
	}
	ttl, err := c.TimeToLive(ctx, g.ID, clientv3.WithAttachedKeys())
	if err != nil || !slices.EqualFunc(ttl.Keys, []string{"a", "b"}, func(k []byte, s string) bool { return string(k) == s }) {
		t.Errorf("time to live: %v, %v", ttl, err)
	}
	if r, err := c.Revoke(ctx, g.ID); err != nil || r.Header.Revision != 4 {
		t.Errorf("revoke: %v, %v", r, err)
	}
	short, err := c.Grant(ctx, 0)
	if err != nil || short.TTL != 1 || short.Revision != 4 {
		t.Fatal(short, err)
	}
	if _, err := c.Put(ctx, "short", "", clientv3.WithLease(short.ID)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"put b@2", "put a@3", "del a@4", "del b@4", "put short@5", "del short@6"} {
		if got := events.next(t); got != want {
			t.Errorf("event %s, want %s", got, want)
		}
	}
}

// BenchmarkKeepAlives renews 1000 leases over one stream; an operation is one keepalive.
func BenchmarkKeepAlives(b *testing.B) {
	for _, through := range []string{"leader", "follower"} {
		b.Run(through, func(b *testing.B) { benchKeepAlives(b, through == "follower") })
	}
}

func benchKeepAlives(b *testing.B, follower bool) {
	s := newRealSites(b, 3)
	i := s.leaderIndex()
	if follower {
		i = (i + 1) % 3
	}
	lease := pb.NewLeaseClient(s.conn(i))
	for id := range int64(1000) {
		if _, err := lease.LeaseGrant(b.Context(), &pb.LeaseGrantRequest{ID: id + 1, TTL: 600}); err != nil {
			b.Fatal(err)
		}
	}
	stream, err := lease.LeaseKeepAlive(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	sent := make(chan error, 1)
	go func() {
		for n := range b.N {
			if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(n%1000) + 1}); err != nil {
				sent <- fmt.Errorf("send: %w", err)
				return
			}
		}
		sent <- nil
	}()
	for range b.N {
		if r, err := stream.Recv(); err != nil || r.TTL != 600 {
			b.Fatal(r, err)
		}
	}
	if err := <-sent; err != nil {
		b.Fatal(err)
	}
}
