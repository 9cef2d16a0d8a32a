package gateway

import (
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// shift makes the revisions of datacenters differ.
func (f *federation) shift() {
	f.t.Helper()
	ctx := testContext(f.t)
	i := 0
	for _, s := range f.sites {
		i++
		for n := range 3 * i {
			if _, err := s.client(0).Put(ctx, "multi", fmt.Sprint(n)); err != nil {
				f.t.Fatal(err)
			}
		}
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
