package gateway

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// shift makes the revisions of datacenters differ: each write of one key that a later one of another datacenter has
// beaten takes no revision where it arrives.
func (f *federation) shift() {
	f.t.Helper()
	ctx := testContext(f.t)
	names := slices.Sorted(maps.Keys(f.sites))
	f.update(func() {
		for _, from := range names {
			for _, to := range names {
				f.cut[[2]string{from, to}] = true
			}
		}
	})
	for i, name := range names { // the first writes most, and last comes the latest write
		for n := range 30 >> (2 * i) {
			if _, err := f.client(name).Put(ctx, "multi", fmt.Sprint(n)); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	f.update(func() { f.cut = map[[2]string]bool{} })
	revisions := map[int64]bool{}
	for _, to := range names {
		for _, from := range names {
			if from != to {
				f.caughtUp(to, from)
			}
		}
		revisions[f.sites[to].dc.Revision()] = true
	}
	if len(revisions) != len(names) {
		f.t.Fatalf("the revisions of %d datacenters are %v", len(names), revisions)
	}
}

func TestWriteElsewhereIsTheHomes(t *testing.T) {
	f := newFederation(t, nil, "dc-a", "dc-b", "dc-c")
	f.shift()
	ctx := testContext(t)
	var trailer metadata.MD
	kv := f.sites["dc-b"].kv(0)
	put, err := kv.Put(metadata.AppendToOutgoingContext(ctx, metaPolicy, "ALL"), &pb.PutRequest{Key: []byte(fedSpace + "k"), Value: []byte("1")}, grpc.Trailer(&trailer))
	if err != nil {
		t.Fatal(err)
	}
	if put.Header.ClusterId != 101 {
		t.Errorf("cluster id %d is not that of the datacenter that was asked", put.Header.ClusterId)
	}
	if h := value(trailer, trailerHome); h != "dc-a" {
		t.Errorf("home %s", h)
	}
	token := value(trailer, trailerToken)
	if want := fmt.Sprintf("dc-a:1:%d", f.sites["dc-a"].dc.Position("dc-a").Revision); token != want {
		t.Errorf("token %s, want %s", token, want)
	}
	if got := value(trailer, trailerAckedBy); got != "dc-a,dc-b,dc-c" {
		t.Errorf("acked by %s", got)
	}
	b := f.client("dc-b")
	got, err := b.Get(ctx, fedSpace+"k", clientv3.WithSerializable())
	if err != nil || len(got.Kvs) != 1 {
		t.Fatal(got, err)
	}
	if got.Kvs[0].ModRevision != put.Header.Revision {
		t.Errorf("the answer has revision %d, and the key %d here", put.Header.Revision, got.Kvs[0].ModRevision)
	}
	old, err := b.Put(ctx, fedSpace+"k", "2", clientv3.WithPrevKV())
	if err != nil || old.PrevKv == nil || old.PrevKv.ModRevision != put.Header.Revision || string(old.PrevKv.Value) != "1" {
		t.Errorf("previous value %v, %v", old, err)
	}
	del, err := f.client("dc-c").Delete(ctx, fedSpace, clientv3.WithPrefix(), clientv3.WithPrevKV())
	if err != nil || del.Deleted != 1 || string(del.PrevKvs[0].Value) != "2" {
		t.Fatal(del, err)
	}
	at, err := f.client("dc-c").Get(ctx, fedSpace+"k", clientv3.WithRev(del.PrevKvs[0].ModRevision), clientv3.WithSerializable())
	if err != nil || string(at.Kvs[0].Value) != "2" || at.Kvs[0].ModRevision != del.PrevKvs[0].ModRevision {
		t.Errorf("the previous version at its revision here: %v, %v", at, err)
	}
}

// Compaction stays in its datacenter, also where the whole data has one writer.
func TestCompactElsewhere(t *testing.T) {
	f := newFederation(t, func(c *Config) {
		c.Keyspaces = []Keyspace{{Mode: SingleWriter, Home: "dc-a"}, {Prefix: fedSpace}, {Prefix: "/other/"}}
	}, "dc-a", "dc-b")
	f.update(func() { f.homes[""] = f.homes[fedSpace] })
	ctx := testContext(t)
	b := f.client("dc-b")
	must(t)(b.Put(ctx, "k", "1"))
	put, err := b.Put(ctx, "k", "2")
	if err != nil {
		t.Fatal(err)
	}
	must(t)(b.Compact(ctx, put.Header.Revision))
	if _, err := b.Get(ctx, "k", clientv3.WithRev(put.Header.Revision-1)); err == nil {
		t.Error("not compacted here")
	}
	if r, err := f.client("dc-a").Get(ctx, "k", clientv3.WithRev(2)); err != nil || string(r.Kvs[0].Value) != "1" {
		t.Errorf("compacted at the home: %v, %v", r, err)
	}
}
