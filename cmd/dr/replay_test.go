package dr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"geogate/gateway/admin"
)

// keys is the etcd API of a datacenter's client port, as far as a replay uses it.
type keys struct {
	clientv3.KV
	cluster  uint64
	m        map[string]state
	revision *int64
	leases   []int64 // that live
	before   func()  // runs before the next transaction; nil for none
}

type state struct {
	value string
	mod   int64
	lease int64
	is    admin.KeyState
}

func newKeys(values ...string) keys {
	k := keys{cluster: 42, m: map[string]state{}, revision: new(int64)}
	for i := 0; i < len(values); i += 2 {
		k.put(values[i], values[i+1], 0)
	}
	return k
}

// put writes as a client of another datacenter does.
func (k keys) put(key, value string, lease int64) {
	*k.revision++
	k.m[key] = state{value, *k.revision, lease, admin.KeyState{Origin: "b", Revision: *k.revision + 1000, Live: true}}
}

// delete leaves a grave, of which clients see nothing.
func (k keys) delete(key string) {
	*k.revision++
	k.m[key] = state{is: admin.KeyState{Origin: "b", Revision: *k.revision + 1000}}
}

func (k keys) base(key string) *admin.KeyState { is := k.m[key].is; return &is }

func (k keys) Get(_ context.Context, key string, _ ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	r := &clientv3.GetResponse{Header: &pb.ResponseHeader{ClusterId: k.cluster, Revision: *k.revision}}
	if s := k.m[key]; s.is.Live {
		r.Kvs = []*mvccpb.KeyValue{{Key: []byte(key), Value: []byte(s.value), ModRevision: s.mod}}
	}
	return r, nil
}

func (k keys) Txn(context.Context) clientv3.Txn {
	if k.before != nil {
		k.before()
	}
	return &txn{k: k, same: true}
}

type txn struct {
	clientv3.Txn
	k    keys
	same bool
	then clientv3.Op
}

func (x *txn) If(cs ...clientv3.Cmp) clientv3.Txn {
	c := cs[0].GetCompare()
	s := x.k.m[string(c.Key)]
	switch c.Target {
	case pb.Compare_VALUE:
		x.same = s.is.Live && s.value == string(c.GetValue())
	case pb.Compare_MOD:
		x.same = s.is.Live && s.mod == c.GetModRevision()
	case pb.Compare_CREATE:
		x.same = !s.is.Live && c.GetCreateRevision() == 0
	}
	return x
}

func (x *txn) Then(ops ...clientv3.Op) clientv3.Txn { x.then = ops[0]; return x }

func (x *txn) Commit() (*clientv3.TxnResponse, error) {
	if x.same {
		lease := leaseOf(x.then)
		if lease != 0 && !slices.Contains(x.k.leases, lease) {
			return nil, rpctypes.ErrLeaseNotFound
		}
		if x.then.IsDelete() {
			x.k.delete(string(x.then.KeyBytes()))
		} else {
			x.k.put(string(x.then.KeyBytes()), string(x.then.ValueBytes()), lease)
		}
	}
	return &clientv3.TxnResponse{Header: &pb.ResponseHeader{Revision: *x.k.revision}, Succeeded: x.same}, nil
}

// leaseOf is that of a put.
func leaseOf(op clientv3.Op) int64 {
	var id int64
	_, _ = fmt.Sscanf(fmt.Sprintf("%+v", op)[strings.Index(fmt.Sprintf("%+v", op), "leaseID:")+len("leaseID:"):], "%d", &id)
	return id
}

func write(id uint64, key, old, value string, base *admin.KeyState) admin.AsideWrite {
	w := admin.AsideWrite{ID: id, Key: []byte(key), New: []byte(value), Base: base}
	if old != "" {
		w.Old = []byte(old)
	}
	if value == "" {
		w.New, w.Deleted = nil, true
	}
	return w
}

func results(list []Replayed) string {
	var out []string
	for _, r := range list {
		out = append(out, fmt.Sprint(r.ID, " ", r.Result))
	}
	return strings.Join(out, ", ")
}

func (k keys) values() string {
	var out []string
	for key, s := range k.m {
		if s.is.Live {
			out = append(out, key+"="+s.value)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestReplay(t *testing.T) {
	kv := newKeys("twice", "1", "changed", "1", "there", "1", "dropped", "1", "gone", "1", "back", "1", "again", "1")
	kv.delete("graved")
	none := &admin.KeyState{}
	n := &node{kv: kv, aside: []admin.AsideWrite{
		write(2, "twice", "1", "2", kv.base("twice")), write(3, "new", "", "x", none), write(4, "twice", "2", "3", kv.base("twice")),
		write(5, "changed", "1", "2", kv.base("changed")), write(6, "there", "1", "2", kv.base("there")),
		write(8, "dropped", "1", "", kv.base("dropped")), write(9, "gone", "1", "", kv.base("gone")),
		write(10, "back", "1", "2", kv.base("back")), write(11, "back", "2", "3", kv.base("back")),
		write(12, "graved", "", "x", kv.base("graved")), write(13, "fleeting", "", "x", none), write(14, "dropped", "", "4", kv.base("dropped")),
		write(15, "again", "1", "2", kv.base("again")),
	}}
	kv.put("changed", "other", 0)
	kv.put("there", "2", 0)
	kv.delete("gone")
	kv.put("back", "other", 0)
	kv.put("back", "1", 0) // as it was, and yet somebody has relied on it
	kv.put("fleeting", "short", 0)
	kv.delete("fleeting")
	c := start(t, n)
	done, err := c.Replay(t.Context(), Replay{KV: kv, Keyspace: locks})
	if !errors.Is(err, ErrChanged) || errors.Is(err, ErrLeaseGone) || !strings.Contains(err.Error(), "4 of 13") {
		t.Errorf("some keys have changed: %v", err)
	}
	want := "2 replayed, 3 replayed, 4 replayed, 5 superseded, 6 identical, 8 replayed, 9 identical, 10 superseded, 11 superseded, 12 replayed, 13 superseded, 14 replayed, 15 replayed"
	if got := results(done); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := kv.values(); got != "again=2 back=1 changed=other dropped=4 graved=x new=x there=2 twice=3" {
		t.Errorf("keys %s", got)
	}
	if fmt.Sprint(n.gone) != "[2 3 4 6 8 9 12 14 15]" {
		t.Errorf("no longer kept %v", n.gone)
	}
	if r := done[7]; string(r.Now) != "1" || string(r.Kept) != "2" || r.By == nil || *r.By != kv.m["back"].is || r.ByValue {
		t.Errorf("by what it is superseded: %+v", r)
	}
	done, err = c.Replay(t.Context(), Replay{KV: kv, Keyspace: locks, IDs: []uint64{5, 10, 11}, Overwrite: true})
	if err != nil || results(done) != "5 overwritten, 10 overwritten, 11 replayed" || kv.m["changed"].value != "2" || kv.m["back"].value != "3" {
		t.Errorf("overwrite: %s, %v", results(done), err)
	}
}

// Somebody writes between the look at a key and the write.
func TestReplayIsOvertaken(t *testing.T) {
	kv := newKeys("k", "1")
	n := &node{aside: []admin.AsideWrite{write(1, "k", "1", "2", kv.base("k"))}}
	kv.before = func() { kv.put("k", "1", 0) }
	n.kv = kv
	done, err := start(t, n).Replay(t.Context(), Replay{KV: kv, Keyspace: locks})
	if !errors.Is(err, ErrChanged) || results(done) != "1 superseded" || kv.m["k"].value != "1" {
		t.Errorf("%s, %v", results(done), err)
	}
}

func TestReplayOfLeases(t *testing.T) {
	kv := newKeys()
	kv.leases = []int64{7}
	leased := func(id uint64, key string, lease int64) admin.AsideWrite {
		w := write(id, key, "", "x", &admin.KeyState{})
		w.Lease = lease
		return w
	}
	n := &node{kv: kv, aside: []admin.AsideWrite{leased(1, "alive", 7), leased(2, "dead", 8)}}
	c := start(t, n)
	done, err := c.Replay(t.Context(), Replay{KV: kv, Keyspace: locks})
	if !errors.Is(err, ErrLeaseGone) || errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "--without-lease") {
		t.Errorf("a lease has ended: %v", err)
	}
	if results(done) != "1 replayed, 2 lease_gone" || done[0].LeaseFate != leaseBound || kv.m["alive"].lease != 7 || kv.values() != "alive=x" || fmt.Sprint(n.gone) != "[1]" {
		t.Errorf("%+v; keys %+v, no longer kept %v", done, kv.m, n.gone)
	}
	if rows := fmt.Sprint(ReplayedRows(done)); !strings.Contains(rows, "7 bound") || !strings.Contains(rows, "lease_gone") {
		t.Errorf("table %s", rows)
	}
	done, err = c.Replay(t.Context(), Replay{KV: kv, Keyspace: locks, IDs: []uint64{2}, WithoutLease: true})
	if err != nil || done[0].LeaseFate != leaseDropped || kv.values() != "alive=x dead=x" || kv.m["dead"].lease != 0 {
		t.Errorf("without it: %+v, %v; keys %+v", done, err, kv.m)
	}
}

// What an older build has set aside names no state: values are compared, and the result says so.
func TestReplayByValue(t *testing.T) {
	kv := newKeys("k", "1", "c", "other")
	n := &node{kv: kv, aside: []admin.AsideWrite{write(1, "k", "1", "2", nil), write(2, "c", "1", "2", nil)}}
	done, err := start(t, n).Replay(t.Context(), Replay{KV: kv, Keyspace: locks})
	if !errors.Is(err, ErrChanged) || results(done) != "1 replayed, 2 superseded" || !done[0].ByValue || done[1].By != nil {
		t.Errorf("%+v, %v", done, err)
	}
	if rows := fmt.Sprint(ReplayedRows(done)); !strings.Contains(rows, "values alone") {
		t.Errorf("table %s", rows)
	}
}

// A client of another datacenter numbers revisions otherwise.
func TestReplayElsewhere(t *testing.T) {
	kv := newKeys("k", "1")
	n := &node{kv: kv, aside: []admin.AsideWrite{write(1, "k", "1", "2", kv.base("k"))}}
	kv.cluster = 43
	done, err := start(t, n).Replay(t.Context(), Replay{KV: kv, Keyspace: locks})
	if !errors.Is(err, ErrElsewhere) || len(done) != 0 || kv.values() != "k=1" {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestQuarantine(t *testing.T) {
	n := &node{aside: []admin.AsideWrite{write(2, "a", "", "x", nil), write(3, "b", "", "x", nil), write(5, "c", "", "x", nil)}}
	c := start(t, n)
	if _, err := c.Show(t.Context(), locks, 4); !errors.Is(err, ErrNoWrite) {
		t.Errorf("a number that is not there: %v", err)
	}
	if list, more, err := c.List(t.Context(), locks, 2); err != nil || len(list) != 2 || !more {
		t.Errorf("%d writes, %v, %v", len(list), more, err)
	}
	if done, err := c.Discard(t.Context(), locks, nil); err != nil || done != 3 || fmt.Sprint(n.gone) != "[2 3 5]" {
		t.Errorf("discarded %d, %v", done, err)
	}
}
