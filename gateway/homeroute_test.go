package gateway

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication"
	"geogate/replication/homes"
)

func singlePut(key, value string) *pb.PutRequest {
	return &pb.PutRequest{Key: []byte(fedSpace + key), Value: []byte(value)}
}

// A datacenter that takes another one for the home asks it, is refused, and finds the right one.
func TestWriteFollowsTheHome(t *testing.T) {
	f := newFederation(t, nil, "dc-a", "dc-b", "dc-c")
	ctx := testContext(t)
	f.update(func() { f.behindBy = map[string]string{"dc-b": "dc-c"} })
	if _, err := f.sites["dc-b"].kv(0).Put(ctx, singlePut("k", "1")); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	calls := strings.Join(f.calls, ", ")
	f.mu.Unlock()
	if calls != "dc-b dc-c kv.v1/put, dc-b dc-a kv.v1/put" {
		t.Errorf("calls: %s", calls)
	}
	// At the home itself: it moves between the look at the standing and the commit.
	f.update(func() { f.behindBy = map[string]string{"dc-a": "dc-b"} })
	if _, err := f.sites["dc-a"].kv(0).Put(ctx, singlePut("k", "2")); err != nil {
		t.Error(err)
	}
	if n := f.sites["dc-a"].dc.Position("dc-a").Revision; n != 3 {
		t.Errorf("dc-a made %d writes, want 2", n-1)
	}
}

func TestNoHome(t *testing.T) {
	for _, wait := range []bool{false, true} {
		f := newFederation(t, func(c *Config) {
			if wait {
				c.Keyspaces[0].OnUnreachable = UnreachableWait
			}
		}, "dc-a", "dc-b")
		for name, break_ := range map[string]func(){
			"the home can't serve":    func() { f.why[fedSpace] = "the lease has run out" },
			"there is none yet":       func() { f.homes[fedSpace] = homes.Value{} },
			"the home can't be asked": func() { f.silent["dc-a"] = "cut off" },
		} {
			was := f.value(fedSpace)
			f.update(break_)
			ctx := metadata.AppendToOutgoingContext(testContext(t), metaTimeout, "5s")
			heal := func() {
				f.update(func() { f.why[fedSpace], f.homes[fedSpace] = "", was; delete(f.silent, "dc-a") })
			}
			if wait {
				time.AfterFunc(50*time.Millisecond, heal)
			}
			start := time.Now()
			_, err := f.sites["dc-b"].kv(0).Put(ctx, singlePut("k", name))
			took := time.Since(start)
			if wait {
				if err != nil || took < 40*time.Millisecond {
					t.Errorf("%s, and waits: %v after %s", name, err, took)
				}
				continue
			}
			heal()
			if status.Code(err) != codes.Unavailable || infoOf(err, reasonNoHome)[infoKeyspace] != fedSpace || took > 3*time.Second {
				t.Errorf("%s: %v after %s", name, err, took)
			}
			if !strings.Contains(err.Error(), "nothing was read or written: keyspace") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestNotForwarded(t *testing.T) {
	f := newFederation(t, func(c *Config) {
		c.Keyspaces[0].Forward = new(bool)
		c.HomeEndpoints = map[string][]string{"dc-a": {"https://a:2379"}}
	}, "dc-a", "dc-b")
	ctx := testContext(t)
	_, err := f.sites["dc-b"].kv(0).Put(ctx, singlePut("k", "1"))
	info := infoOf(err, reasonNotForwarded)
	if status.Code(err) != codes.FailedPrecondition || info[infoHome] != "dc-a" || info[infoEndpoints] != "https://a:2379" {
		t.Errorf("%v %v", err, info)
	}
	if _, err := f.sites["dc-a"].kv(0).Put(ctx, singlePut("k", "1")); err != nil {
		t.Error(err)
	}
}

func TestAnswerOfTheHomeIsLost(t *testing.T) {
	f := newFederation(t, nil, "dc-a", "dc-b")
	ctx := testContext(t)
	f.update(func() { f.silent["dc-a"] = "lost" })
	if _, err := f.sites["dc-b"].kv(0).Put(ctx, singlePut("k", "1")); !errors.Is(rpctypes.Error(err), rpctypes.ErrTimeoutDueToConnectionLost) {
		t.Errorf("lost answer: %v", err)
	}
	if n := len(f.calls); n != 1 {
		t.Errorf("%d calls: a write whose outcome is not known was repeated", n)
	}
	// With an id the client may repeat it, at either datacenter.
	if _, err := f.sites["dc-b"].kv(0).Put(as(ctx, "id"), singlePut("k", "2")); err == nil {
		t.Error("no answer, and no error")
	}
	f.update(func() { delete(f.silent, "dc-a") })
	var trailer metadata.MD
	first, err := f.sites["dc-b"].kv(0).Put(as(ctx, "id"), singlePut("k", "2"), grpc.Trailer(&trailer))
	if err != nil || value(trailer, trailerReplayed) != "true" {
		t.Fatal(first, err, trailer)
	}
	f.caughtUp("dc-b", "dc-a")
	got, err := f.client("dc-b").Get(ctx, fedSpace+"k")
	if err != nil || got.Kvs[0].ModRevision != first.Header.Revision || got.Kvs[0].Version != 2 {
		t.Errorf("answered with revision %d: %v, %v", first.Header.Revision, got, err)
	}
}

// A transaction is translated for the home anew each time; its repetition is known all the same.
func TestRepeatedTransactionElsewhere(t *testing.T) {
	f := newFederation(t, nil, "dc-a", "dc-b")
	f.shift()
	b, ctx := f.client("dc-b"), testContext(t)
	put, err := b.Put(ctx, fedSpace+"k", "1")
	if err != nil {
		t.Fatal(err)
	}
	var revision int64
	for i := range 3 {
		r, err := b.Txn(as(ctx, "txn")).If(clientv3.Compare(clientv3.ModRevision(fedSpace+"k"), "=", put.Header.Revision)).
			Then(clientv3.OpPut(fedSpace+"k", "2")).Else(clientv3.OpPut(fedSpace+"k", "wrong")).Commit()
		if err != nil || !r.Succeeded {
			t.Fatal(i, r, err)
		}
		if i > 0 && r.Header.Revision != revision {
			t.Errorf("repetition %d has revision %d, the first answer %d", i, r.Header.Revision, revision)
		}
		revision = r.Header.Revision
	}
}

func TestSeveralWriters(t *testing.T) {
	f := newFederation(t, nil, "dc-a", "dc-b")
	c, ctx := f.client("dc-b"), testContext(t)
	put := func(key string) clientv3.Op { return clientv3.OpPut(key, "v") }
	f.move("/other/", "dc-b")
	for name, refused := range map[string]func() error{
		"two homes":        func() error { _, err := c.Txn(ctx).Then(put(fedSpace+"k"), put("/other/k")).Commit(); return err },
		"multi and single": func() error { _, err := c.Txn(ctx).Then(put(fedSpace+"k"), put("k")).Commit(); return err },
		"compare elsewhere": func() error {
			_, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Version("k"), "=", 0)).Then(put(fedSpace + "k")).Commit()
			return err
		},
		"read elsewhere": func() error { _, err := c.Txn(ctx).Then(put("k"), clientv3.OpGet(fedSpace+"k")).Commit(); return err },
		"nested": func() error {
			_, err := c.Txn(ctx).Then(put("k"), clientv3.OpTxn(nil, nil, []clientv3.Op{put(fedSpace + "k")})).Commit()
			return err
		},
		"delete of all":     func() error { _, err := c.Delete(ctx, "", clientv3.WithFromKey()); return err },
		"read of two homes": func() error { _, err := c.Get(ctx, "/", clientv3.WithPrefix()); return err },
		"compare of a range": func() error {
			_, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(fedSpace), "<", 9).WithPrefix()).Then(put(fedSpace + "k")).Commit()
			return err
		},
	} {
		if err := refused(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Log(name, ":", err)
		}
	}
	f.move("/other/", "dc-a")
	_, err := c.Txn(ctx).Then(put(fedSpace+"k"), put("/other/k")).Commit()
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "same home now") {
		t.Errorf("one home, two keyspaces: %v", err)
	}
	if _, err := c.Get(ctx, "/", clientv3.WithPrefix()); err != nil {
		t.Errorf("a read over keyspaces of one home: %v", err)
	}
	if _, err := c.Get(ctx, "", clientv3.WithFromKey(), clientv3.WithSerializable()); err != nil {
		t.Errorf("a serializable read: %v", err)
	}
}

// A linearizable read elsewhere sees what the home has acknowledged, or fails; never an older state.
func TestReadElsewhereIsLinearizable(t *testing.T) {
	f := newFederation(t, func(c *Config) { c.RequestTimeout = 1500 * time.Millisecond }, "dc-a", "dc-b")
	ctx := testContext(t)
	a, b := f.sites["dc-a"].kv(0), f.sites["dc-b"].kv(0)
	must(t)(a.Put(ctx, singlePut("k", "1")))
	read := func() (string, error) {
		r, err := b.Range(ctx, &pb.RangeRequest{Key: []byte(fedSpace + "k")})
		if err != nil {
			return "", err
		}
		return string(r.Kvs[0].Value), nil
	}
	if got, err := read(); err != nil || got != "1" {
		t.Fatal(got, err)
	}
	f.update(func() { f.cut[[2]string{"dc-a", "dc-b"}] = true })
	must(t)(a.Put(ctx, singlePut("k", "2")))
	if got, err := read(); status.Code(err) != codes.Unavailable {
		t.Errorf("behind its home, and reads %q, %v", got, err)
	}
	if r, err := b.Range(ctx, &pb.RangeRequest{Key: []byte(fedSpace + "k"), Serializable: true}); err != nil || string(r.Kvs[0].Value) != "1" {
		t.Errorf("serializable: %v, %v", r, err)
	}
	time.AfterFunc(20*time.Millisecond, func() { f.update(func() { f.cut = map[[2]string]bool{} }) })
	if got, err := read(); err != nil || got != "2" {
		t.Errorf("caught up, and reads %q, %v", got, err)
	}
	if r, err := b.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(fedSpace + "k")}}}}}); err != nil ||
		string(r.Responses[0].GetResponseRange().Kvs[0].Value) != "2" {
		t.Errorf("a transaction that reads: %v, %v", r, err)
	}
	followers := map[string]pb.KVClient{"dc-a's follower": f.sites["dc-a"].kv(1), "dc-b's follower": f.sites["dc-b"].kv(1)}
	for name, kv := range followers {
		if r, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte(fedSpace + "k")}); err != nil || string(r.Kvs[0].Value) != "2" {
			t.Errorf("%s reads %v, %v", name, r, err)
		}
		if r, err := clientv3.NewKVFromKVClient(kv, nil).Txn(ctx).Then(clientv3.OpGet(fedSpace + "k")).Commit(); err != nil || len(r.Responses) != 1 {
			t.Errorf("%s: a transaction that reads: %v, %v", name, r, err)
		}
	}
	// A home that may not serve reads does not, nor does anybody else.
	f.update(func() { f.reading[fedSpace] = false })
	followers["dc-a"], followers["dc-b"] = a, b
	for name, kv := range followers {
		if r, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte(fedSpace + "k")}); status.Code(err) != codes.Unavailable || infoOf(err, reasonNoHome) == nil {
			t.Errorf("%s reads %v, %v", name, r, err)
		}
	}
}

// losing is a home whose lease runs out after it was looked at a number of times.
type losing struct {
	fedHomes
	looks int
}

func (l *losing) Standing(keyspace string) replication.Standing {
	st := l.fedHomes.Standing(keyspace)
	if l.looks--; l.looks < 0 {
		st.Here, st.Reading = false, false
	}
	return st
}

// Who is stopped during a read and goes on when the lease is over does not answer.
func TestReadOfALateHome(t *testing.T) {
	home := &losing{looks: 1 << 30}
	f := newFederation(t, func(c *Config) {
		if h := c.Homes.(fedHomes); h.name == "dc-a" && !h.follower {
			home.fedHomes = h
			c.Homes = home
		}
	}, "dc-a", "dc-b")
	ctx := testContext(t)
	must(t)(f.sites["dc-a"].kv(0).Put(ctx, singlePut("k", "1")))
	for _, name := range []string{"dc-a", "dc-b"} {
		home.looks = 1
		if r, err := f.sites[name].kv(0).Range(ctx, &pb.RangeRequest{Key: []byte(fedSpace + "k")}); err == nil {
			t.Errorf("%s: a home without a lease answered %v", name, r)
		}
	}
}
