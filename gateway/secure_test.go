package gateway

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication/policy"
)

// What only the home has committed, a failover may leave out: no linearizable read shows it, and no transaction.
func TestReadsShowWhatAFailoverKeeps(t *testing.T) {
	for _, p := range []policy.Policy{policy.Quorum, policy.All, policy.Async} {
		t.Run(p.String(), func(t *testing.T) {
			f := newFederation(t, func(c *Config) {
				c.Keyspaces[0].Policy = new(p)
			}, "dc-a", "dc-b", "dc-c")
			ctx := testContext(t)
			f.update(func() { f.leased = true })
			a := f.sites["dc-a"]
			must(t)(a.kv(0).Put(ctx, singlePut("k", "all have it")))
			f.update(func() { f.cut[[2]string{"dc-a", "dc-b"}], f.cut[[2]string{"dc-a", "dc-c"}] = true, true })
			alone := metadata.AppendToOutgoingContext(ctx, metaPolicy, "ASYNC")
			must(t)(a.kv(0).Put(alone, singlePut("k", "dc-a has it")))
			key := singlePut("k", "").Key
			read := func(dc string, node int, key []byte) func(context.Context) error {
				return func(ctx context.Context) error {
					_, err := f.sites[dc].kv(node).Range(ctx, &pb.RangeRequest{Key: key})
					return err
				}
			}
			stream := func(dc string, node int) func(context.Context) error {
				return func(ctx context.Context) error {
					_, err := streamed(ctx, f.sites[dc].kv(node), key)
					return err
				}
			}
			find := func(dc string) func(context.Context) error {
				return func(ctx context.Context) error {
					_, err := f.sites[dc].kv(0).Txn(ctx, unchanged(key))
					return err
				}
			}
			asked := map[string]func(context.Context) error{
				"range": read("dc-a", 0, key), "range at a follower": read("dc-a", 1, key), "range of another key": read("dc-a", 0, []byte(fedSpace+"other")),
				"stream": stream("dc-a", 0), "stream at a follower": stream("dc-a", 1), "stream elsewhere": stream("dc-b", 0),
				"range elsewhere": read("dc-b", 0, key), "transaction": find("dc-a"), "transaction elsewhere": find("dc-b"),
			}
			var asking sync.WaitGroup
			for what, ask := range asked {
				asking.Go(func() {
					brief, cancel := context.WithTimeout(ctx, time.Second)
					defer cancel()
					err := ask(brief)
					if p != policy.Async && err == nil {
						t.Errorf("%s was answered before a majority has the write", what)
					}
					if p == policy.Async && !strings.HasSuffix(what, "elsewhere") && err != nil { // there it has not come at all
						t.Errorf("%s: %v", what, err)
					}
				})
			}
			asking.Wait()
			if _, err := a.kv(0).Range(ctx, &pb.RangeRequest{Key: key, Serializable: true}); err != nil {
				t.Errorf("serializable: %v", err)
			}
			f.update(func() { clear(f.cut) })
			for what, ask := range asked {
				if err := ask(ctx); err != nil {
					t.Errorf("%s, when all have it: %v", what, err)
				}
			}
		})
	}
}

// unchanged is a transaction that only finds out: its compare fails.
func unchanged(key []byte) *pb.TxnRequest {
	put := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: []byte("never")}}}
	return &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: key, Target: pb.Compare_VALUE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Value{Value: []byte("no")}}},
		Success: []*pb.RequestOp{put},
	}
}

func streamed(ctx context.Context, kv pb.KVClient, key []byte) (whole *pb.RangeResponse, err error) {
	whole = &pb.RangeResponse{}
	s, err := kv.RangeStream(ctx, &pb.RangeRequest{Key: key})
	for err == nil {
		var page *pb.RangeStreamResponse
		if page, err = s.Recv(); err == nil {
			proto.Merge(whole, page.RangeResponse)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return whole, err
}

// A stream shows nothing that was written after it was permitted, and tells the revision that it is of.
func TestStreamShowsWhatAFailoverKeeps(t *testing.T) {
	f := newFederation(t, nil, "dc-a", "dc-b", "dc-c")
	ctx := testContext(t)
	f.update(func() { f.leased = true })
	a := f.sites["dc-a"]
	for node := range 2 {
		must(t)(a.kv(0).Put(ctx, singlePut("k", "all have it")))
		f.update(func() {
			f.cut[[2]string{"dc-a", "dc-b"}], f.cut[[2]string{"dc-a", "dc-c"}] = true, true
			f.onStream = func() {
				alone := metadata.AppendToOutgoingContext(ctx, metaPolicy, "ASYNC")
				must(t)(a.kv(0).Put(alone, singlePut("k", "dc-a has it")))
			}
		})
		got, err := streamed(ctx, a.kv(node), singlePut("k", "").Key)
		if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "all have it" || got.Header.Revision != got.Kvs[0].ModRevision {
			t.Errorf("at node %d: %v, %v", node, got, err)
		}
		f.update(func() {
			clear(f.cut)
			f.onStream = nil
		})
	}
}
