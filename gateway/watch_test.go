package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/gateway/watch"
)

// rawWatch is a watch stream without clientv3 in between.
type rawWatch struct {
	pb.Watch_WatchClient
	t testing.TB
}

func (s *site) watch(ctx context.Context, i int) rawWatch {
	s.t.Helper()
	w, err := pb.NewWatchClient(s.conn(i)).Watch(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return rawWatch{w, s.t}
}

func (w rawWatch) create(r *pb.WatchCreateRequest) {
	w.t.Helper()
	if err := w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}); err != nil {
		w.t.Fatal(err)
	}
}

func (w rawWatch) cancel(id int64) {
	w.t.Helper()
	r := &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}
	if err := w.Send(&pb.WatchRequest{RequestUnion: r}); err != nil {
		w.t.Fatal(err)
	}
}

func (w rawWatch) progress() {
	w.t.Helper()
	r := &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}
	if err := w.Send(&pb.WatchRequest{RequestUnion: r}); err != nil {
		w.t.Fatal(err)
	}
}

func (w rawWatch) next() *pb.WatchResponse {
	w.t.Helper()
	r, err := w.Recv()
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// show is a response in one line.
func show(r *pb.WatchResponse) string {
	var b strings.Builder
	fmt.Fprintf(&b, "id %d rev %d", r.WatchId, r.Header.Revision)
	for _, f := range []struct {
		on   bool
		name string
	}{{r.Created, " created"}, {r.Canceled, " canceled"}, {r.Fragment, " fragment"}} {
		if f.on {
			b.WriteString(f.name)
		}
	}
	if r.CompactRevision != 0 {
		fmt.Fprintf(&b, " compacted %d", r.CompactRevision)
	}
	if r.CancelReason != "" {
		fmt.Fprintf(&b, " (%s)", r.CancelReason)
	}
	for _, e := range r.Events {
		kind := "put"
		if e.Type == mvccpb.Event_DELETE {
			kind = "del"
		}
		fmt.Fprintf(&b, " %s %s@%d", kind, e.Kv.Key, e.Kv.ModRevision)
		if e.PrevKv != nil {
			fmt.Fprintf(&b, "<%s@%d", e.PrevKv.Value, e.PrevKv.ModRevision)
		}
	}
	return b.String()
}

func (w rawWatch) want(lines ...string) {
	w.t.Helper()
	for _, want := range lines {
		if got := show(w.next()); got != want {
			w.t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}

func (s *site) put(keys ...string) {
	s.t.Helper()
	for _, k := range keys {
		if _, _, err := (fakeNode{s.data, s.data.leader}).Put(s.t.Context(), &pb.PutRequest{Key: []byte(k), Value: []byte("v")}); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *site) del(key, end string) {
	s.t.Helper()
	r := &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}
	if _, _, err := (fakeNode{s.data, s.data.leader}).DeleteRange(s.t.Context(), r); err != nil {
		s.t.Fatal(err)
	}
}

func TestWatchEvents(t *testing.T) {
	s := newSite(t, 1, nil)
	w := s.watch(testContext(t), 0)
	s.put("a/1")
	w.create(&pb.WatchCreateRequest{Key: []byte("a/"), RangeEnd: []byte("a0"), PrevKv: true})
	w.want("id 0 rev 2 created")
	s.put("a/1", "b/1")
	s.del("a/", "b0")
	w.want("id 0 rev 3 put a/1@3<v@2", "id 0 rev 5 del a/1@5<v@3")
	w.create(&pb.WatchCreateRequest{Key: []byte("a/1"), StartRevision: 2}) // from history
	w.want("id 1 rev 5 created", "id 1 rev 2 put a/1@2", "id 1 rev 3 put a/1@3", "id 1 rev 5 del a/1@5")
	w.create(&pb.WatchCreateRequest{Key: []byte("b/1"), StartRevision: 2, Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}})
	w.want("id 2 rev 5 created", "id 2 rev 5 del b/1@5")
	w.create(&pb.WatchCreateRequest{Key: []byte("b/1"), StartRevision: 2, Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}})
	w.want("id 3 rev 5 created", "id 3 rev 4 put b/1@4")
	w.create(&pb.WatchCreateRequest{RangeEnd: []byte{0}, StartRevision: 4}) // every key
	w.want("id 4 rev 5 created", "id 4 rev 4 put b/1@4", "id 4 rev 5 del a/1@5 del b/1@5")
}

func TestWatchIDs(t *testing.T) {
	s := newSite(t, 1, nil)
	w := s.watch(testContext(t), 0)
	key := []byte("a")
	w.create(&pb.WatchCreateRequest{Key: key, WatchId: 1})
	w.create(&pb.WatchCreateRequest{Key: key})
	w.create(&pb.WatchCreateRequest{Key: key}) // 1 is taken
	w.create(&pb.WatchCreateRequest{Key: key, WatchId: 2})
	w.want("id 1 rev 1 created", "id 0 rev 1 created", "id 2 rev 1 created", "id -1 rev 1 created canceled (mvcc: duplicate watch ID provided on the WatchStream)")
	w.cancel(2)
	w.cancel(2)  // ignored the second time
	w.cancel(77) // unknown
	w.create(&pb.WatchCreateRequest{Key: key, WatchId: 2})
	w.want("id 2 rev 1 canceled", "id 2 rev 1 created")
}

func TestWatchRefused(t *testing.T) {
	s := newSite(t, 1, nil)
	s.rooted(t)
	w := s.watch(s.as("ann", "a", "b"), 0)
	w.create(&pb.WatchCreateRequest{Key: []byte("ab"), RangeEnd: []byte("aa")})
	w.create(&pb.WatchCreateRequest{Key: []byte("aa"), RangeEnd: []byte("aa")})
	w.create(&pb.WatchCreateRequest{Key: []byte("aa"), StartRevision: -1})
	w.create(&pb.WatchCreateRequest{Key: []byte("b")})
	w.want(
		"id -1 rev 1 created canceled (mvcc: watcher range is empty)",
		"id -1 rev 1 created canceled (mvcc: watcher range is empty)",
		"id -1 rev 1 created canceled (etcdserver: mvcc: required revision has been compacted)",
		"id -1 rev 1 created canceled (rpc error: code = PermissionDenied desc = etcdserver: permission denied)",
	)
}

func TestWatchCompacted(t *testing.T) {
	s := newSite(t, 1, nil)
	s.put("a", "a", "a")
	if _, err := s.nodes[0].fake.Compact(t.Context(), &pb.CompactionRequest{Revision: 3}); err != nil {
		t.Fatal(err)
	}
	w := s.watch(testContext(t), 0)
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 2})
	w.want("id 0 rev 4 created", "id 0 rev 4 canceled compacted 3")
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 3})
	w.want("id 1 rev 4 created", "id 1 rev 3 put a@3", "id 1 rev 4 put a@4")
}

func TestWatchOfTheFuture(t *testing.T) {
	s := newSite(t, 1, nil)
	w := s.watch(testContext(t), 0)
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 4})
	w.want("id 0 rev 1 created")
	w.progress()
	w.want("id -1 rev 1") // not ahead of the store
	s.put("a", "a", "a")
	w.want("id 0 rev 4 put a@4")
}

func TestWatchFragments(t *testing.T) {
	s := newSite(t, 1, func(c *Config) { c.MaxRequestBytes = 1 })
	value := strings.Repeat("x", 300<<10)
	var txn []*pb.RequestOp
	for i := range 4 {
		txn = append(txn, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: fmt.Append(nil, "a", i), Value: []byte(value)}}})
	}
	if _, _, err := s.nodes[0].fake.Txn(t.Context(), &pb.TxnRequest{Success: txn}); err != nil {
		t.Fatal(err)
	}
	w := s.watch(testContext(t), 0)
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("b"), StartRevision: 2, Fragment: true})
	w.want("id 0 rev 2 created", "id 0 rev 2 fragment put a0@2", "id 0 rev 2 fragment put a1@2", "id 0 rev 2 fragment put a2@2", "id 0 rev 2 put a3@2")
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("b"), StartRevision: 2})
	w.want("id 1 rev 2 created", "id 1 rev 2 put a0@2 put a1@2 put a2@2 put a3@2")
}

func TestWatchProgressRequest(t *testing.T) {
	s := newSite(t, 1, nil)
	w := s.watch(testContext(t), 0)
	w.progress() // no watch, no answer
	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	w.create(&pb.WatchCreateRequest{Key: []byte("b")})
	w.want("id 0 rev 1 created", "id 1 rev 1 created")
	s.put("c", "c")
	w.progress()
	w.want("id -1 rev 3")
	s.put("a")
	w.want("id 0 rev 4 put a@4")
	w.cancel(1)
	w.progress()
	w.want("id 1 rev 4 canceled", "id -1 rev 4")
}

// Progress must never be ahead of an event that is still to come, nor behind one of the stream. Writer and
// reader keep close together, so that requests meet events on their way.
func TestWatchProgressNeverOvertakes(t *testing.T) {
	s := newSite(t, 1, nil)
	w := s.watch(testContext(t), 0)
	const watches, writes, apart = 4, 400, 6
	for i := range watches {
		w.create(&pb.WatchCreateRequest{Key: fmt.Append(nil, "k", i)})
	}
	for range watches {
		w.next()
	}
	received := make(chan struct{}, apart)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range writes {
			received <- struct{}{}
			s.put(fmt.Sprint("k", i%watches))
			w.progress()
		}
	})
	seen, promised, highest, between := 0, int64(0), int64(1), 0
	for seen < writes {
		r := w.next()
		if r.WatchId == watch.NoID {
			between++
			if promised = r.Header.Revision; promised < highest {
				t.Fatalf("progress %d after an event of revision %d", promised, highest)
			}
		}
		for _, e := range r.Events {
			seen++
			<-received
			highest = max(highest, e.Kv.ModRevision)
			if e.Kv.ModRevision <= promised {
				t.Fatalf("event of revision %d after progress %d", e.Kv.ModRevision, promised)
			}
		}
	}
	wg.Wait()
	if between == 0 {
		t.Error("no request was answered among the events: the test shows nothing")
	}
	w.progress()
	for r := w.next(); r.WatchId != watch.NoID || r.Header.Revision != writes+1; r = w.next() {
		if len(r.Events) > 0 {
			t.Fatal(show(r))
		}
	}
}

func TestWatchPeriodicProgress(t *testing.T) {
	s := newSite(t, 1, func(c *Config) { c.ProgressInterval = minProgressInterval })
	w := s.watch(testContext(t), 0)
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), ProgressNotify: true})
	w.create(&pb.WatchCreateRequest{Key: []byte("b")}) // wants none
	w.want("id 0 rev 1 created", "id 1 rev 1 created")
	s.put("c")
	w.want("id 0 rev 2", "id 0 rev 2")
	start := time.Now()
	s.put("a") // takes the place of the next one
	if got := show(w.next()); got != "id 0 rev 3 put a@3" {
		w.want("id 0 rev 3 put a@3") // a progress of revision 2 was under way
	}
	w.want("id 0 rev 3")
	if d := time.Since(start); d < minProgressInterval {
		t.Errorf("progress %s after an event", d)
	}
}

func TestWatchThroughClientv3(t *testing.T) {
	s := newSite(t, 3, nil)
	c := s.client(2)
	ctx := testContext(t)
	events := c.Watch(ctx, "a/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	if r := <-events; !r.Created {
		t.Fatal(r)
	}
	for i := range 5 {
		if _, err := c.Put(ctx, "a/x", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		r := <-events
		if len(r.Events) != 1 || string(r.Events[0].Kv.Value) != fmt.Sprint(i) || r.Events[0].IsCreate() != (i == 0) {
			t.Fatalf("event %d: %v", i, r)
		}
	}
	if err := c.RequestProgress(ctx); err != nil {
		t.Fatal(err)
	}
	if r := <-events; !r.IsProgressNotify() || r.Header.Revision != 6 {
		t.Errorf("progress: %v", r)
	}
}

// A client whose connection broke resumes without losing an event.
func TestWatchResumesAfterALostConnection(t *testing.T) {
	s := newSite(t, 1, nil)
	c := s.client(0)
	events := c.Watch(testContext(t), "a", clientv3.WithCreatedNotify())
	<-events
	s.put("a", "a")
	for want := int64(2); want <= 9; {
		r := <-events
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision != want {
				t.Fatalf("got revision %d, want %d", e.Kv.ModRevision, want)
			}
			want++
		}
		if want == 4 {
			s.breakConnections()
			s.put("a", "a", "a", "a", "a", "a")
		}
	}
}

func TestWatchRequiresLeader(t *testing.T) {
	s := newSite(t, 1, nil)
	with := s.watch(clientv3.WithRequireLeader(testContext(t)), 0)
	without := s.watch(testContext(t), 0)
	for _, w := range []rawWatch{with, without} {
		w.create(&pb.WatchCreateRequest{Key: []byte("a")})
		w.want("id 0 rev 1 created")
	}
	s.data.lead(0)
	if _, err := with.Recv(); !errors.Is(rpctypes.Error(err), rpctypes.ErrNoLeader) {
		t.Errorf("got %v", err)
	}
	late := s.watch(clientv3.WithRequireLeader(testContext(t)), 0)
	if _, err := late.Recv(); !errors.Is(rpctypes.Error(err), rpctypes.ErrNoLeader) {
		t.Errorf("a stream opened without a leader: %v", err)
	}
	s.data.lead(1)
	s.put("a")
	without.want("id 0 rev 2 put a@2")
	eventually(t, "the gateway has heard of the leader", func() bool {
		select {
		case <-s.nodes[0].leaders.lostSignal():
			return false
		default:
			return true
		}
	})
	again := s.watch(clientv3.WithRequireLeader(testContext(t)), 0)
	again.create(&pb.WatchCreateRequest{Key: []byte("a")})
	again.want("id 0 rev 2 created")
}

func TestWatchesEnd(t *testing.T) {
	s := newSite(t, 1, nil)
	ctx, cancel := context.WithCancel(testContext(t))
	w := s.watch(ctx, 0)
	for range 10 {
		w.create(&pb.WatchCreateRequest{Key: []byte("a")})
		w.next()
	}
	watches := func() float64 { return gathered(t, s.nodes[0].registry, "geogate_gateway_watches") }
	eventually(t, "ten watches", func() bool { return watches() == 10 })
	w.cancel(3)
	eventually(t, "nine watches", func() bool { return watches() == 9 })
	if err := w.CloseSend(); err != nil { // the client keeps its watches
		t.Fatal(err)
	}
	w.want("id 3 rev 1 canceled")
	s.put("a")
	for range 9 {
		if r := w.next(); len(r.Events) != 1 {
			t.Fatal(show(r))
		}
	}
	cancel()
	eventually(t, "no watch and no stream", func() bool {
		return watches() == 0 && gathered(t, s.nodes[0].registry, "geogate_gateway_watch_streams") == 0
	})
}
