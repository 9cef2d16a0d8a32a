package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/consensus"
	"geogate/dc"
	"geogate/gateway/watch"
	"geogate/replication"
	"geogate/replication/event"
	"geogate/replication/policy"
)

// nobody is the replication of a datacenter without peers that can be reached.
type nobody struct{}

func (nobody) Holders() int                            { return 2 }
func (nobody) Check(policy.Policy) error               { return errors.New("dc-b was never heard of") }
func (n nobody) Admit(p policy.Policy) (func(), error) { return func() {}, n.Check(p) }
func (nobody) Hurry()                                  {}
func (nobody) Originate() error                        { return nil }
func (nobody) Peers() []replication.PeerStatus         { return nil }
func (nobody) Matrix() map[string]event.Vector         { return nil }
func (nobody) Wait(context.Context, int64, policy.Policy) ([]string, error) {
	return nil, replication.ErrNotLeading
}

// newRealSite serves a real datacenter of one node.
func newRealSite(t *testing.T) *site { return newRealSites(t, 1) }

// newRealSites serves a real datacenter of n nodes.
func newRealSites(t testing.TB, n int) *site {
	t.Helper()
	var members []consensus.Member
	var listeners []net.Listener
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		members = append(members, consensus.Member{ID: uint64(i + 1), Addr: l.Addr().String()})
	}
	tick := 5 * time.Millisecond
	if n > 1 {
		tick = 40 * time.Millisecond // on a busy machine, shorter ones make elections of their own
	}
	var dcs []*dc.DC
	for i, l := range listeners {
		d, err := dc.Open(dc.Config{
			Name: "dc-a", Dir: t.TempDir(),
			Consensus: consensus.Config{
				ClusterID: 1, NodeID: uint64(i + 1), Members: members, Listener: l, TickInterval: tick,
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		dcs = append(dcs, d)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	s := newSite(t, n, func(c *Config) {
		d := Local{dcs[c.MemberID-1]}
		c.Datacenter, c.Inspector, c.Replication, c.Users = d, d, nobody{}, d
	})
	s.dcs = dcs
	return s
}

// leaderIndex waits for the node that leads.
func (s *site) leaderIndex() (leader int) {
	s.t.Helper()
	eventually(s.t, "a leader", func() bool {
		leader = slices.IndexFunc(s.dcs, func(d *dc.DC) bool {
			_, leading := d.Leading()
			return leading
		})
		return leader >= 0
	})
	return leader
}

// everywhere is the real clientv3 with all nodes as its endpoints.
func (s *site) everywhere() *clientv3.Client {
	s.t.Helper()
	var endpoints []string
	for _, n := range s.nodes {
		endpoints = append(endpoints, "http://"+n.addr)
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, Logger: zap.NewNop(), DialOptions: []grpc.DialOption{grpc.WithContextDialer(s.dial)},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// kill ends a real node as a crash would.
func (s *site) kill(i int) {
	s.sever(s.nodes[i].addr, true)
	s.nodes[i].Kill()
	s.dcs[i].Kill()
}

func TestRealDatacenter(t *testing.T) {
	s := newRealSite(t)
	c, ctx := s.client(0), testContext(t)
	events := c.Watch(ctx, "", clientv3.WithFromKey(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	<-events
	put, err := c.Put(ctx, "a", "1") // waits for the first leader
	if err != nil || put.Header.Revision != 2 {
		t.Fatal(put, err)
	}
	if _, err := c.Put(ctx, "a", "2"); err != nil {
		t.Fatal(err)
	}
	txn, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision("a"), "=", 3)).
		Then(clientv3.OpPut("b", "x"), clientv3.OpGet("b"), clientv3.OpDelete("a")).Commit()
	if err != nil || !txn.Succeeded || txn.Header.Revision != 4 || txn.Responses[1].GetResponseRange().Count != 1 {
		t.Fatal(txn, err)
	}
	queue := &eventQueue{from: events}
	for _, want := range []string{"put a@2", "put a@3 over 1", "put b@4", "del a@4 over 2"} {
		if got := queue.next(t); got != want {
			t.Errorf("event %s, want %s", got, want)
		}
	}
	if err := c.RequestProgress(ctx); err != nil {
		t.Fatal(err)
	}
	if r := <-events; !r.IsProgressNotify() || r.Header.Revision != 4 {
		t.Errorf("progress: %v", r)
	}
	if r, err := c.Get(ctx, "a", clientv3.WithRev(3)); err != nil || string(r.Kvs[0].Value) != "2" || r.Header.Revision != 4 {
		t.Errorf("read of the past: %v, %v", r, err)
	}
	if _, err := c.Compact(ctx, 4); err != nil {
		t.Errorf("compact: %v", err)
	}
	if _, err := c.Get(ctx, "a", clientv3.WithRev(3)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("compacted read: %v", err)
	}
	if r := <-c.Watch(ctx, "a", clientv3.WithRev(2)); r.CompactRevision != 4 || !r.Canceled {
		t.Errorf("compacted watch: %v", r)
	}
	if _, err := c.Put(ctx, "a", "", clientv3.WithLease(5)); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("unknown lease: %v", err)
	}
	st, err := c.Status(ctx, "node")
	if err != nil || st.Leader != 1 || st.RaftIndex == 0 || st.DbSize == 0 || st.Header.Revision != 4 {
		t.Errorf("status: %v, %v", st, err)
	}
}

// eventQueue shows events one by one: the store may put several revisions into one response.
type eventQueue struct {
	from    clientv3.WatchChan
	waiting []*clientv3.Event
}

func (q *eventQueue) next(t *testing.T) string {
	t.Helper()
	for len(q.waiting) == 0 {
		r := <-q.from
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
		q.waiting = r.Events
	}
	e := q.waiting[0]
	q.waiting = q.waiting[1:]
	kind := "put"
	if e.Type == clientv3.EventTypeDelete {
		kind = "del"
	}
	text := fmt.Sprintf("%s %s@%d", kind, e.Kv.Key, e.Kv.ModRevision)
	if e.PrevKv != nil {
		text += " over " + string(e.PrevKv.Value)
	}
	return text
}

// Progress against the real store, under a load that keeps its queues full.
func TestRealProgressNeverOvertakes(t *testing.T) {
	s := newRealSite(t)
	ctx := testContext(t)
	kv := s.kv(0)
	if _, err := putFor(ctx, kv, "first"); err != nil {
		t.Fatal(err)
	}
	w := s.watch(ctx, 0)
	const watches, writers, each = 4, 8, 50
	for i := range watches {
		w.create(&pb.WatchCreateRequest{Key: fmt.Append(nil, "k", i), PrevKv: i%2 == 0})
		w.next()
	}
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for range each {
				if _, err := putFor(ctx, kv, fmt.Sprint("k", i%watches)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	asking, stop := context.WithCancel(ctx)
	wg.Go(func() {
		for asking.Err() == nil {
			w.progress()
			sleep(asking, nil, time.Millisecond)
		}
	})
	seen, promised, highest, answers := 0, int64(0), int64(2), 0
	for seen < writers*each {
		r := w.next()
		if r.WatchId == watch.NoID {
			answers++
			if promised = r.Header.Revision; promised < highest {
				t.Fatalf("progress %d after an event of revision %d", promised, highest)
			}
		}
		for _, e := range r.Events {
			seen++
			highest = max(highest, e.Kv.ModRevision)
			if e.Kv.ModRevision <= promised {
				t.Fatalf("event of revision %d after progress %d", e.Kv.ModRevision, promised)
			}
		}
	}
	stop()
	wg.Wait()
	if answers == 0 {
		t.Error("no request was answered among the events")
	}
}
