package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// caughtUp waits until a datacenter has all that another wrote.
func (f *federation) caughtUp(to, from string) {
	f.t.Helper()
	want := f.sites[from].dc.Position(from).Revision
	eventually(f.t, to+" has all of "+from, func() bool { return f.sites[to].dc.Position(from).Revision >= want })
}

// compares are all compares of a key's revisions and version that a client could make.
func compares(key string, upTo int64) (out []*pb.Compare) {
	for _, result := range []pb.Compare_CompareResult{pb.Compare_EQUAL, pb.Compare_NOT_EQUAL, pb.Compare_LESS, pb.Compare_GREATER} {
		for r := range upTo + 1 {
			out = append(out,
				&pb.Compare{Key: []byte(key), Result: result, Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: r}},
				&pb.Compare{Key: []byte(key), Result: result, Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: r}},
				&pb.Compare{Key: []byte(key), Result: result, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: r}})
		}
	}
	return out
}

// outcome is what a transaction of a client at the one datacenter comes to at the home: as it is decided there before
// the other has applied what the home knows.
func (f *federation) outcome(at, home string, c *pb.Compare) (bool, error) {
	f.t.Helper()
	txn := &pb.TxnRequest{Compare: []*pb.Compare{c}}
	named, err := f.sites[at].nodes[0].nameVersions(testContext(f.t), txn)
	if err != nil {
		f.t.Fatal(err)
	}
	if named != "" {
		if txn, err = f.sites[home].nodes[0].resolveVersions(txn, named); err != nil {
			return false, err
		}
	}
	resp, err := f.sites[home].dc.ReadTxn(testContext(f.t), txn)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.Succeeded, nil
}

// Whatever happens at the home that the client's datacenter has not applied yet, each compare comes out as it does
// in that datacenter once it has applied it.
func TestComparesMeanTheSameAtTheHome(t *testing.T) {
	for _, moved := range []bool{false, true} {
		t.Run(fmt.Sprintf("moved %t", moved), func(t *testing.T) {
			f := newFederation(t, nil, "dc-a", "dc-b", "dc-c")
			f.shift()
			ctx := testContext(t)
			const home, at = "dc-a", "dc-b"
			if moved { // then what is there is of another home
				f.move(fedSpace, "dc-c")
			}
			first := f.client(f.value(fedSpace).Home.DC)
			keys := []string{"absent", "same", "put", "deleted", "anew", "absent-anew", "anew-twice"}
			for i, k := range keys {
				for range i + 1 {
					if k != "absent" && k != "absent-anew" {
						must(t)(first.Put(ctx, fedSpace+k, "old"))
					}
				}
			}
			if moved {
				f.move(fedSpace, home)
			}
			for _, name := range []string{"dc-a", "dc-c"} {
				f.caughtUp(at, name)
				f.caughtUp(home, name)
			}
			seen := f.sites[at].dc.Revision()
			f.update(func() { f.cut[[2]string{home, at}] = true })
			c := f.client(home)
			for _, k := range keys {
				switch k {
				case "put", "absent-anew":
					must(t)(c.Put(ctx, fedSpace+k, "new"))
				case "deleted":
					must(t)(c.Delete(ctx, fedSpace+k))
				case "anew", "anew-twice":
					must(t)(c.Delete(ctx, fedSpace+k))
					must(t)(c.Put(ctx, fedSpace+k, "new"))
				}
				if k == "anew-twice" {
					must(t)(c.Put(ctx, fedSpace+k, "new"))
				}
			}
			type asked struct {
				c    *pb.Compare
				text string
				got  bool
			}
			var all []asked
			unknown := 0
			for _, k := range keys {
				for _, cmp := range compares(fedSpace+k, seen+1) {
					if r := max(cmp.GetModRevision(), cmp.GetCreateRevision()); cmp.Result != pb.Compare_LESS && r > seen {
						continue // the client can't have a revision that is not there yet, but for one more than the newest
					}
					got, err := f.outcome(at, home, cmp)
					if behind := (*catchUpError)(nil); errors.As(err, &behind) {
						unknown++
						continue
					} else if err != nil {
						t.Fatal(err)
					}
					all = append(all, asked{cmp, cmp.String(), got})
				}
			}
			f.update(func() { f.cut[[2]string{home, at}] = false })
			f.caughtUp(at, home)
			wrong := 0
			for _, a := range all {
				want, err := f.sites[at].dc.ReadTxn(ctx, &pb.TxnRequest{Compare: []*pb.Compare{a.c}})
				if err != nil {
					t.Fatal(err)
				}
				if a.got != want.Succeeded {
					if wrong++; wrong < 20 {
						t.Errorf("%s: %t at the home, %t here", a.text, a.got, want.Succeeded)
					}
				}
			}
			t.Logf("%d compares, %d wrong, %d not known before the datacenter catches up", len(all), wrong, unknown)
			if moved != (unknown > 0) {
				t.Errorf("%d were not known", unknown)
			}
		})
	}
}

func must(t *testing.T) func(any, error) {
	t.Helper()
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Clients in three datacenters count by compare-and-swap, while the home moves. No count is lost.
func TestCompareAndSwapEverywhere(t *testing.T) {
	for _, how := range []string{"mod revision", "version"} {
		t.Run(how, func(t *testing.T) {
			names := []string{"dc-a", "dc-b", "dc-c"}
			f := newFederation(t, nil, names...)
			f.shift()
			ctx := testContext(t)
			const each, key = 25, fedSpace + "counter"
			var clients sync.WaitGroup
			for _, name := range names {
				c := f.sites[name].client(rand.IntN(2))
				clients.Go(func() {
					for range each {
						if err := countUp(ctx, c, key, how); err != nil {
							t.Errorf("%s: %v", name, err)
							return
						}
					}
				})
			}
			done := make(chan struct{})
			go func() { clients.Wait(); close(done) }()
			for i, moves := 0, rand.IntN(3)+2; i < moves; i++ {
				f.move(fedSpace, names[(i+1)%len(names)])
			}
			<-done
			for _, name := range names {
				got, err := f.client(name).Get(ctx, key)
				if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != strconv.Itoa(each*len(names)) {
					t.Errorf("%s reads %v, %v; want %d", name, got, err, each*len(names))
				}
			}
		})
	}
}

// countUp counts one up. It repeats only when the compare failed, or when nothing was written.
func countUp(ctx context.Context, c *clientv3.Client, key, how string) error {
	for {
		got, err := c.Get(ctx, key)
		if err != nil {
			return err
		}
		n, cmp, then := 0, clientv3.Compare(clientv3.CreateRevision(key), "=", 0), []clientv3.Op{}
		if len(got.Kvs) == 1 {
			kv := got.Kvs[0]
			if n, err = strconv.Atoi(string(kv.Value)); err != nil {
				return err
			}
			switch how {
			case "mod revision":
				cmp = clientv3.Compare(clientv3.ModRevision(key), "=", kv.ModRevision)
			case "version":
				cmp = clientv3.Compare(clientv3.Version(key), "=", kv.Version)
			default:
				cmp = clientv3.Compare(clientv3.CreateRevision(key), "=", kv.CreateRevision)
				if r, err := c.Txn(ctx).If(cmp).Then(clientv3.OpDelete(key)).Commit(); err != nil {
					return err
				} else if !r.Succeeded {
					continue
				}
				cmp = clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
			}
		}
		if how == "created anew" && n == 0 && len(got.Kvs) == 0 {
			continue // somebody is between the two steps, or it is the first
		}
		r, err := c.Txn(ctx).If(cmp).Then(append(then, clientv3.OpPut(key, strconv.Itoa(n+1)))...).Else(clientv3.OpGet(key)).Commit()
		if err != nil {
			return err
		}
		if r.Succeeded {
			return nil
		}
		if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 {
			at, err := c.Get(ctx, key, clientv3.WithRev(kvs[0].ModRevision), clientv3.WithSerializable())
			if err != nil {
				return err
			}
			if len(at.Kvs) != 1 || string(at.Kvs[0].Value) != string(kvs[0].Value) || at.Kvs[0].CreateRevision != kvs[0].CreateRevision {
				return fmt.Errorf("the answer shows %v, and at that revision there is %v", kvs[0], at.Kvs)
			}
		}
	}
}
