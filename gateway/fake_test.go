package gateway

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/dc/store"
	"geogate/gateway/watch"
	"geogate/replication/event"
)

// fakeData is the replicated state of one datacenter, in memory: every version of every key, in order of
// revision. All its nodes see every commit at once.
type fakeData struct {
	lost, abandoned atomic.Int64 // puts of lostKey that were submitted, and those of them that nobody waits for

	name string

	mu        sync.Mutex
	rev       int64 // guarded by mu, as all below
	compacted int64
	history   []*mvccpb.Event // with PrevKv
	live      map[string]*mvccpb.KeyValue
	own       int64 // newest revision of this datacenter's own writes
	term      uint64
	leader    uint64
	turnover  chan struct{} // closed and replaced when leadership changes
	committed chan struct{} // closed and replaced when something is committed
	refuse    []error       // answers of the next writes
	writes    int           // attempts that reached a writer
	alarms    []*pb.AlarmMember
	gate      chan struct{} // when set, a read waits for it
	degraded  map[string]dc.Degradation

	others map[string]int64 // how far the chains of other datacenters are applied

	leases     map[int64]int64 // TTLs by id
	renewCalls int
}

func newFakeData(name string, leader uint64) *fakeData {
	return &fakeData{
		name: name, rev: 1, term: 7, leader: leader, live: map[string]*mvccpb.KeyValue{},
		turnover: make(chan struct{}), committed: make(chan struct{}),
	}
}

func (d *fakeData) lead(id uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leader = id
	d.term++
	close(d.turnover)
	d.turnover = make(chan struct{})
}

func (d *fakeData) attempts() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes
}

// fakeNode is one node's replica: it implements Datacenter and Inspector.
type fakeNode struct {
	*fakeData
	id uint64
}

func (n fakeNode) Name() string { return n.name }

func (n fakeNode) Position(origin string) event.Position {
	n.mu.Lock()
	defer n.mu.Unlock()
	if origin != n.name {
		return event.Position{Origin: origin, Revision: n.others[origin]}
	}
	return event.Position{Origin: origin, Revision: n.own}
}

func (n fakeNode) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.committed
}

// apply is what arrives from another datacenter: its chain up to a revision, and a new key.
func (d *fakeData) apply(origin string, revision int64, key, value string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.others == nil {
		d.others = map[string]int64{}
	}
	d.others[origin] = revision
	d.rev++
	kv := &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), CreateRevision: d.rev, ModRevision: d.rev, Version: 1}
	d.live[key] = kv
	d.history = append(d.history, &mvccpb.Event{Kv: kv})
	close(d.committed)
	d.committed = make(chan struct{})
}

func (n fakeNode) Leading() (uint64, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.term, n.leader == n.id
}

func (n fakeNode) Leader() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leader
}

func (n fakeNode) LeadershipChanged() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.turnover
}

func (n fakeNode) Revision() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rev
}

func (n fakeNode) State() State {
	n.mu.Lock()
	defer n.mu.Unlock()
	return State{
		Term: n.term, Leader: n.leader, Commit: 11, Applied: 11, Revision: n.rev, Compacted: n.compacted,
		Keys: int64(len(n.live)), DBSizeBytes: 4096, DBInUseBytes: 2048, Incarnation: 5, Digest: 9,
		Vector: event.Vector{n.name: n.own},
	}
}

// fakeBatch is one transaction under evaluation.
type fakeBatch struct {
	d       *fakeData
	rev     int64
	events  []*mvccpb.Event
	changed map[string]*mvccpb.KeyValue // nil value: deleted
}

func (b *fakeBatch) get(key string) *mvccpb.KeyValue {
	if kv, ok := b.changed[key]; ok {
		return kv
	}
	return b.d.live[key]
}

func (b *fakeBatch) keys(key, end []byte) []string {
	var out []string
	for k := range b.d.live {
		out = append(out, k)
	}
	for k := range b.changed {
		out = append(out, k)
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(k string) bool {
		return b.get(k) == nil || !inRange([]byte(k), key, end)
	})
}

// write evaluates fn as one transaction and commits what it changed.
func (n fakeNode) write(fn func(*fakeBatch) error) (int64, dc.Commit, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.writes++
	if n.leader != n.id {
		return 0, dc.Commit{}, dc.ErrNotLeader
	}
	if len(n.refuse) > 0 {
		err := n.refuse[0]
		n.refuse = n.refuse[1:]
		return 0, dc.Commit{}, err
	}
	b := &fakeBatch{d: n.fakeData, rev: n.rev + 1, changed: map[string]*mvccpb.KeyValue{}}
	if err := fn(b); err != nil {
		return 0, dc.Commit{}, err
	}
	if len(b.events) == 0 {
		return n.rev, dc.Commit{}, nil
	}
	n.rev, n.own = b.rev, b.rev
	n.history = append(n.history, b.events...)
	for k, kv := range b.changed {
		if kv == nil {
			delete(n.live, k)
		} else {
			n.live[k] = kv
		}
	}
	close(n.committed)
	n.committed = make(chan struct{})
	return n.rev, dc.Commit{Revision: n.rev, Stamp: event.Stamp(n.rev)}, nil
}

// countDegraded does what the datacenter does with such writes.
func (n fakeNode) countDegraded(ctx context.Context, c dc.Commit) {
	g := dc.DegradedOf(ctx)
	if g == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	all := maps.Clone(n.degraded)
	if all == nil {
		all = map[string]dc.Degradation{}
	}
	for _, k := range g.Keyspaces {
		t, known := all[k]
		if !known {
			t = dc.Degradation{Began: event.Stamp(c.Revision), Low: g.Policy, High: g.Policy, Seen: time.Now()}
		}
		t.Bytes += g.Bytes
		all[k] = t
	}
	n.fakeData.degraded = all
}

func (n fakeNode) Degraded() map[string]dc.Degradation {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.degraded
}

func (n fakeNode) EndDegraded(_ context.Context, over map[string]dc.Degradation) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := maps.Clone(n.degraded)
	for k := range over {
		delete(all, k)
	}
	n.fakeData.degraded = all
	return nil
}

func (n fakeNode) Put(ctx context.Context, r *pb.PutRequest) (resp *pb.PutResponse, c dc.Commit, err error) {
	rev, c, err := n.write(func(b *fakeBatch) (err error) {
		resp, err = b.put(r)
		return err
	})
	if err != nil {
		return nil, c, err
	}
	n.countDegraded(ctx, c)
	resp.Header = &pb.ResponseHeader{Revision: rev}
	return resp, c, nil
}

func (b *fakeBatch) put(r *pb.PutRequest) (*pb.PutResponse, error) {
	prev := b.get(string(r.Key))
	if (r.IgnoreValue || r.IgnoreLease) && prev == nil {
		return nil, dc.ErrKeyNotFound
	}
	if r.Lease != 0 {
		return nil, dc.ErrLeaseNotFound
	}
	kv := &mvccpb.KeyValue{Key: r.Key, Value: r.Value, CreateRevision: b.rev, ModRevision: b.rev, Version: 1}
	if prev != nil {
		kv.CreateRevision, kv.Version = prev.CreateRevision, prev.Version+1
		if r.IgnoreValue {
			kv.Value = prev.Value
		}
	}
	b.changed[string(r.Key)] = kv
	b.events = append(b.events, &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: kv, PrevKv: prev})
	resp := &pb.PutResponse{}
	if r.PrevKv {
		resp.PrevKv = prev
	}
	return resp, nil
}

func (n fakeNode) DeleteRange(_ context.Context, r *pb.DeleteRangeRequest) (resp *pb.DeleteRangeResponse, c dc.Commit, err error) {
	rev, c, err := n.write(func(b *fakeBatch) error {
		resp = b.delete(r)
		return nil
	})
	if err != nil {
		return nil, c, err
	}
	resp.Header = &pb.ResponseHeader{Revision: rev}
	return resp, c, nil
}

func (b *fakeBatch) delete(r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	resp := &pb.DeleteRangeResponse{}
	for _, k := range b.keys(r.Key, r.RangeEnd) {
		prev := b.get(k)
		resp.Deleted++
		if r.PrevKv {
			resp.PrevKvs = append(resp.PrevKvs, prev)
		}
		b.changed[k] = nil
		b.events = append(b.events, &mvccpb.Event{
			Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(k), ModRevision: b.rev}, PrevKv: prev,
		})
	}
	return resp
}

func (n fakeNode) Txn(_ context.Context, r *pb.TxnRequest) (resp *pb.TxnResponse, c dc.Commit, err error) {
	rev, c, err := n.write(func(b *fakeBatch) (err error) {
		resp, err = b.txn(r)
		return err
	})
	if err != nil {
		return nil, c, err
	}
	resp.Header = &pb.ResponseHeader{Revision: rev}
	return resp, c, nil
}

func (b *fakeBatch) txn(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	resp := &pb.TxnResponse{Succeeded: !slices.ContainsFunc(r.Compare, func(c *pb.Compare) bool { return !b.holds(c) })}
	ops := r.Failure
	if resp.Succeeded {
		ops = r.Success
	}
	for _, op := range ops {
		out := &pb.ResponseOp{}
		switch x := op.Request.(type) {
		case *pb.RequestOp_RequestPut:
			put, err := b.put(x.RequestPut)
			if err != nil {
				return nil, err
			}
			out.Response = &pb.ResponseOp_ResponsePut{ResponsePut: put}
		case *pb.RequestOp_RequestDeleteRange:
			out.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: b.delete(x.RequestDeleteRange)}
		case *pb.RequestOp_RequestTxn:
			nested, err := b.txn(x.RequestTxn)
			if err != nil {
				return nil, err
			}
			out.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: nested}
		case *pb.RequestOp_RequestRange:
			rr := &pb.RangeResponse{}
			for _, k := range b.keys(x.RequestRange.Key, x.RequestRange.RangeEnd) {
				rr.Kvs = append(rr.Kvs, b.get(k))
			}
			rr.Count = int64(len(rr.Kvs))
			out.Response = &pb.ResponseOp_ResponseRange{ResponseRange: rr}
		}
		resp.Responses = append(resp.Responses, out)
	}
	return resp, nil
}

// holds knows the compares that the tests use: on versions, revisions and values of single keys.
func (b *fakeBatch) holds(c *pb.Compare) bool {
	kv := b.get(string(c.Key))
	if kv == nil {
		if c.Target == pb.Compare_VALUE {
			return false
		}
		kv = &mvccpb.KeyValue{}
	}
	var order int
	switch c.Target {
	case pb.Compare_VERSION:
		order = cmp.Compare(kv.Version, c.GetVersion())
	case pb.Compare_CREATE:
		order = cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
	case pb.Compare_MOD:
		order = cmp.Compare(kv.ModRevision, c.GetModRevision())
	case pb.Compare_VALUE:
		order = bytes.Compare(kv.Value, c.GetValue())
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return order == 0
	case pb.Compare_NOT_EQUAL:
		return order != 0
	case pb.Compare_GREATER:
		return order > 0
	default:
		return order < 0
	}
}

func (n fakeNode) Compact(_ context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	rev, _, err := n.write(func(b *fakeBatch) error {
		switch {
		case r.Revision <= n.compacted:
			return store.ErrCompacted
		case r.Revision > n.rev:
			return store.ErrFutureRev
		}
		n.compacted = r.Revision
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &pb.CompactionResponse{Header: &pb.ResponseHeader{Revision: rev}}, nil
}

func (n fakeNode) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if !r.Serializable {
		if err := n.Linearize(ctx); err != nil {
			return nil, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if r.Revision > n.rev {
		return nil, store.ErrFutureRev
	}
	if r.Revision > 0 && r.Revision < n.compacted {
		return nil, store.ErrCompacted
	}
	at := map[string]*mvccpb.KeyValue{}
	for _, e := range n.history {
		switch {
		case r.Revision > 0 && e.Kv.ModRevision > r.Revision:
		case e.Type == mvccpb.Event_DELETE:
			delete(at, string(e.Kv.Key))
		default:
			at[string(e.Kv.Key)] = e.Kv
		}
	}
	resp := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: n.rev}}
	for _, kv := range at {
		if inRange(kv.Key, r.Key, r.RangeEnd) {
			resp.Kvs = append(resp.Kvs, kv)
		}
	}
	slices.SortFunc(resp.Kvs, func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) })
	resp.Count = int64(len(resp.Kvs))
	if r.Limit > 0 && int64(len(resp.Kvs)) > r.Limit {
		resp.Kvs, resp.More = resp.Kvs[:r.Limit], true
	}
	return resp, nil
}

func (n fakeNode) Linearize(ctx context.Context) error {
	n.mu.Lock()
	gate := n.gate
	n.mu.Unlock()
	if gate == nil {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-gate:
		return nil
	}
}

func (n fakeNode) Hash(_ context.Context, revision int64) (store.Hash, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return store.Hash{Sum: 77, Revision: cmp.Or(revision, n.rev), Compacted: n.compacted, Current: n.rev}, nil
}

func (n fakeNode) Backup() (int64, io.ReadCloser, error) {
	return int64(len(fakeBackup)), io.NopCloser(strings.NewReader(fakeBackup)), nil
}

func (n fakeNode) Alarm(_ context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.leader != n.id {
		return nil, dc.ErrNotLeader
	}
	resp := &pb.AlarmResponse{Header: &pb.ResponseHeader{Revision: n.rev}}
	a := &pb.AlarmMember{MemberID: r.MemberID, Alarm: r.Alarm}
	had := slices.ContainsFunc(n.alarms, func(b *pb.AlarmMember) bool { return proto.Equal(a, b) })
	switch {
	case r.Action == pb.AlarmRequest_ACTIVATE && !had:
		n.alarms = append(slices.Clone(n.alarms), a)
		resp.Alarms = append(resp.Alarms, a)
	case r.Action == pb.AlarmRequest_DEACTIVATE && had:
		n.alarms = slices.DeleteFunc(slices.Clone(n.alarms), func(b *pb.AlarmMember) bool { return proto.Equal(a, b) })
		resp.Alarms = append(resp.Alarms, a)
	}
	return resp, nil
}

func (n fakeNode) Defragment(context.Context) error { return nil }

func (n fakeNode) Alarms() []*pb.AlarmMember {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.alarms
}

var fakeBackup = strings.Repeat("0123456789abcdef", 4096+32) // two and a bit of a chunk

// RangeStream sends a key a page.
func (n fakeNode) RangeStream(ctx context.Context, r *pb.RangeRequest, _ int, send func(*pb.RangeResponse) error) error {
	all, err := n.Range(ctx, r)
	if err != nil {
		return err
	}
	for len(all.Kvs) > 1 {
		if err := send(&pb.RangeResponse{Kvs: all.Kvs[:1]}); err != nil {
			return err
		}
		all.Kvs = all.Kvs[1:]
	}
	return send(all)
}

func (n fakeNode) AppliedTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	return n.ReadTxn(ctx, r)
}

func (n fakeNode) ReadTxn(_ context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	resp, err := (&fakeBatch{d: n.fakeData}).txn(r)
	if err == nil {
		resp.Header = &pb.ResponseHeader{Revision: n.rev}
	}
	return resp, err
}

func (n fakeNode) Watch(o store.WatchOptions) watch.Watcher {
	n.mu.Lock()
	defer n.mu.Unlock()
	if o.Start == 0 {
		o.Start = n.rev + 1
	}
	return &fakeWatcher{d: n.fakeData, o: o, next: o.Start}
}

// fakeWatcher reads the history. It returns one revision at a time, so that the seams between calls show.
type fakeWatcher struct {
	d    *fakeData
	o    store.WatchOptions
	next int64 // revision from which on nothing was returned yet
}

func (w *fakeWatcher) Next(ctx context.Context) (store.WatchEvents, error) {
	for {
		if err := ctx.Err(); err != nil {
			return store.WatchEvents{}, err
		}
		w.d.mu.Lock()
		got, err := w.readLocked()
		changed := w.d.committed
		w.d.mu.Unlock()
		if err != nil || len(got.Events) > 0 {
			return got, err
		}
		select {
		case <-ctx.Done():
			return store.WatchEvents{}, ctx.Err()
		case <-changed:
		}
	}
}

func (w *fakeWatcher) readLocked() (store.WatchEvents, error) {
	if w.next < w.d.compacted {
		return store.WatchEvents{}, store.ErrCompactedAt{Revision: w.d.compacted}
	}
	var got store.WatchEvents
	for _, e := range w.d.history {
		rev := e.Kv.ModRevision
		if rev < w.next || !w.matches(e) {
			continue
		}
		if len(got.Events) > 0 && rev != got.Revision {
			break
		}
		got.Revision = rev
		out := proto.Clone(e).(*mvccpb.Event)
		if !w.o.PrevKV {
			out.PrevKv = nil
		}
		got.Events = append(got.Events, out)
	}
	if len(got.Events) > 0 {
		w.next = got.Revision + 1
	} else {
		w.next = max(w.next, w.d.rev+1)
	}
	return got, nil
}

func (w *fakeWatcher) matches(e *mvccpb.Event) bool {
	if w.o.NoPut && e.Type == mvccpb.Event_PUT || w.o.NoDelete && e.Type == mvccpb.Event_DELETE {
		return false
	}
	return inRange(e.Kv.Key, w.o.Key, w.o.End)
}

func (w *fakeWatcher) Progress() (int64, bool) {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	for _, e := range w.d.history {
		if e.Kv.ModRevision >= w.next && w.matches(e) {
			return w.next - 1, false
		}
	}
	return max(w.next-1, w.d.rev), true
}

func (w *fakeWatcher) Close() {}

func (w *fakeWatcher) String() string { return fmt.Sprintf("%q from %d", w.o.Key, w.o.Start) }

// inRange says whether key lies in the range that starts at from, with etcd's rules for its end.
func inRange(key, from, end []byte) bool {
	switch {
	case len(end) == 0:
		return bytes.Equal(key, from)
	case len(end) == 1 && end[0] == 0:
		return bytes.Compare(key, from) >= 0
	default:
		return bytes.Compare(key, from) >= 0 && bytes.Compare(key, end) < 0
	}
}
