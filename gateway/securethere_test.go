package gateway

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"geogate/replication/homes"
	"geogate/replication/policy"
)

// Of five datacenters the home and one other are no majority: a failover that the other three decide leaves out what only
// these two have. A read at the other one must not show it, also when it came between the home's word and the read.
func TestReadsElsewhereShowWhatAFailoverKeeps(t *testing.T) {
	for _, c := range []struct {
		sites  []string
		policy policy.Policy
		waits  bool
	}{
		{[]string{"dc-a", "dc-b", "dc-c", "dc-d", "dc-e"}, policy.Quorum, true},
		{[]string{"dc-a", "dc-b", "dc-c", "dc-d"}, policy.All, true},
		{[]string{"dc-a", "dc-b", "dc-c"}, policy.Quorum, false}, // the two are a majority
	} {
		f := newFederation(t, func(cfg *Config) { cfg.Keyspaces[0].Policy = new(c.policy) }, c.sites...)
		f.update(func() { f.leased = true })
		a, b := f.sites["dc-a"], f.sites["dc-b"]
		key := singlePut("k", "").Key
		must(t)(a.kv(0).Put(testContext(t), singlePut("k", "all have it")))
		ways := map[string]func(context.Context, pb.KVClient, []byte) (string, error){"range": ways["range"], "transaction": ways["transaction"]}
		for what, read := range ways {
			for node := range 2 {
				ctx := testContext(t)
				for _, name := range c.sites {
					f.caughtUp(name, "dc-a")
				}
				value := what + " at a node, " + time.Now().String()
				var once sync.Once
				f.update(func() {
					for _, name := range c.sites[2:] {
						f.cut[[2]string{"dc-a", name}] = true
					}
					f.onRead = func(at string) {
						if at != "dc-b" {
							return
						}
						once.Do(func() {
							must(t)(a.kv(0).Put(metadata.AppendToOutgoingContext(ctx, metaPolicy, "ASYNC"), singlePut("k", value)))
							f.caughtUp("dc-b", "dc-a")
						})
					}
				})
				brief, cancel := context.WithCancel(ctx)
				if c.waits {
					brief, cancel = context.WithTimeout(ctx, 200*time.Millisecond)
				}
				got, err := read(brief, pb.NewKVClient(b.plain(node)), key)
				cancel()
				if c.waits && err == nil && got == value {
					t.Errorf("%s, %d datacenters: %s at node %d showed what two have", c.policy, len(c.sites), what, node)
				}
				if !c.waits && err != nil {
					t.Errorf("%s, %d datacenters: %s at node %d: %v", c.policy, len(c.sites), what, node, err)
				}
				f.update(func() { f.onRead = nil; clear(f.cut) })
				if got, err := read(ctx, b.kv(node), key); err != nil || got != value {
					t.Errorf("%s, %d datacenters: %s at node %d, when all have it: %q, %v", c.policy, len(c.sites), what, node, got, err)
				}
			}
		}
	}
}

// A home that is another one after the read has not answered for what was read.
func TestHomeMovesDuringARead(t *testing.T) {
	f := newFederation(t, func(c *Config) { c.Keyspaces[0].Policy = new(policy.Quorum) }, "dc-a", "dc-b", "dc-c", "dc-d", "dc-e")
	ctx := testContext(t)
	f.update(func() { f.leased = true })
	a, b := f.sites["dc-a"], f.sites["dc-b"]
	must(t)(a.kv(0).Put(ctx, singlePut("k", "kept")))
	for _, name := range []string{"dc-b", "dc-c", "dc-d", "dc-e"} {
		f.caughtUp(name, "dc-a")
	}
	f.update(func() {
		for _, name := range []string{"dc-c", "dc-d", "dc-e"} {
			f.cut[[2]string{"dc-a", name}] = true
		}
		f.onRead = func(at string) {
			if at != "dc-b" {
				return
			}
			f.mu.Lock()
			f.onRead = nil
			f.mu.Unlock()
			cut := a.dc.Position("dc-a").Revision
			must(t)(a.kv(0).Put(metadata.AppendToOutgoingContext(ctx, metaPolicy, "ASYNC"), singlePut("k", "left out")))
			f.caughtUp("dc-b", "dc-a")
			f.update(func() { // a failover; dc-b has not taken back yet what it leaves out
				old := f.homes[fedSpace]
				f.homes[fedSpace] = homes.Value{
					Epoch: old.Epoch + 1, Home: f.life("dc-c"),
					Past: append(slices.Clone(old.Past), homes.Tenure{Epoch: old.Epoch, Home: old.Home, Cut: cut}),
				}
			})
		}
	})
	got, err := ways["range"](ctx, pb.NewKVClient(b.plain(0)), singlePut("k", "").Key)
	if status.Code(err) != codes.Unavailable || infoOf(err, reasonNoHome)[infoHome] != "dc-c" {
		t.Errorf("%q, %v", got, err)
	}
}
