package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// ways of reading a key: each returns its value, empty when it is not there.
var ways = map[string]func(context.Context, pb.KVClient, []byte) (string, error){
	"range": func(ctx context.Context, kv pb.KVClient, key []byte) (string, error) {
		r, err := kv.Range(ctx, &pb.RangeRequest{Key: key})
		return found(r), err
	},
	"stream": func(ctx context.Context, kv pb.KVClient, key []byte) (string, error) {
		r, err := streamed(ctx, kv, key)
		return found(r), err
	},
	"transaction": func(ctx context.Context, kv pb.KVClient, key []byte) (string, error) {
		r, err := kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}}})
		if err != nil {
			return "", err
		}
		return found(r.Responses[0].GetResponseRange()), nil
	},
}

func found(r *pb.RangeResponse) string {
	if len(r.GetKvs()) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}

func (f *federation) isolate(name string) {
	for other := range f.sites {
		if other != name {
			f.cut[[2]string{name, other}], f.cut[[2]string{other, name}] = true, true
		}
	}
	f.silent[name] = "cut off"
}

// The promise: what was acknowledged under QUORUM is seen by every quorum read that begins afterwards, wherever, also
// once the datacenter that wrote it is gone. So is a delete.
func TestQuorumReadSeesWhatAQuorumAcknowledged(t *testing.T) {
	for _, key := range []string{"multi", fedSpace + "k"} {
		f := newFederation(t, nil, "dc-a", "dc-b", "dc-c")
		f.update(func() { f.relay = true })
		a, c := f.sites["dc-a"], f.sites["dc-c"]
		for _, want := range []string{"1", "2", ""} {
			ctx := testContext(t)
			majority := metadata.AppendToOutgoingContext(ctx, metaPolicy, "QUORUM")
			quorum := metadata.AppendToOutgoingContext(ctx, metaRead, "quorum")
			f.update(func() {
				clear(f.cut)
				clear(f.silent)
				f.cut[[2]string{"dc-a", "dc-c"}], f.cut[[2]string{"dc-b", "dc-c"}] = true, true
			})
			was, err := ways["range"](metadata.AppendToOutgoingContext(ctx, metaRead, "eventual"), c.kv(0), []byte(key))
			if err != nil {
				t.Fatal(err)
			}
			if want == "" {
				must(t)(a.kv(0).DeleteRange(majority, &pb.DeleteRangeRequest{Key: []byte(key)}))
			} else {
				must(t)(a.kv(0).Put(majority, &pb.PutRequest{Key: []byte(key), Value: []byte(want)}))
			}
			f.update(func() { f.isolate("dc-a") })
			var early atomic.Int64
			var asking sync.WaitGroup
			for what, read := range ways {
				for node := range 2 {
					asking.Go(func() {
						got, err := read(quorum, c.kv(node), []byte(key))
						if early.Add(1); err != nil || got != want {
							t.Errorf("%s at node %d: %q, %v, want %q", what, node, got, err, want)
						}
					})
				}
			}
			time.Sleep(20 * time.Millisecond) // that nothing happens can't be waited for otherwise
			if n := early.Load(); n != 0 {
				t.Errorf("%d reads were answered before %q was there", n, want)
			}
			for _, level := range []string{"eventual", "sequential"} {
				for what, read := range ways {
					if got, err := read(metadata.AppendToOutgoingContext(ctx, metaRead, level), c.kv(1), []byte(key)); err != nil || got != was {
						t.Errorf("%s, %s: %q, %v, want what is here, %q", level, what, got, err, was)
					}
				}
			}
			f.update(func() { delete(f.cut, [2]string{"dc-b", "dc-c"}) })
			asking.Wait()
		}
	}
}

func TestQuorumReadWithoutAMajority(t *testing.T) {
	f := newFederation(t, nil, "dc-a", "dc-b", "dc-c")
	ctx := metadata.AppendToOutgoingContext(testContext(t), metaRead, "quorum")
	for why, refuse := range map[string]func(){
		"cut off":                      func() { f.silent["dc-a"], f.silent["dc-b"] = "cut off", "cut off" },
		"dc-a is down, so is the rest": func() { f.down = errors.New("dc-a is down, so is the rest") },
	} {
		f.update(refuse)
		for node := range 2 {
			for what, read := range ways {
				start := time.Now()
				_, err := read(ctx, pb.NewKVClient(f.sites["dc-c"].plain(node)), []byte("k"))
				if status.Code(err) != codes.Unavailable || infoOf(err, reasonNoQuorum) == nil || !strings.Contains(err.Error(), "2 of 3 datacenters, dc-c included") ||
					!strings.Contains(err.Error(), why) {
					t.Errorf("%s at node %d: %v", what, node, err)
				}
				if took := time.Since(start); took > 3*time.Second {
					t.Errorf("%s at node %d took %s to be refused", what, node, took)
				}
			}
		}
		f.update(func() { clear(f.silent); f.down = nil })
	}
	f.update(func() { f.silent["dc-a"] = "cut off" })
	if _, err := ways["range"](ctx, f.sites["dc-c"].kv(0), []byte("k")); err != nil {
		t.Errorf("two of three are there: %v", err)
	}
}

// A leader of an older version takes a quorum read for any other: its answer must not pass for one.
func TestLeaderThatKnowsNoLevels(t *testing.T) {
	for _, level := range []level{levelQuorum, levelBounded} {
		for told, known := range map[string]bool{"": false, level.String(): level == levelQuorum, "5ms": level == levelBounded} {
			_, ok := ageOf(reading{level: level}, metadata.Pairs(metaRead, told, trailerStaleness, told))
			if ok != known {
				t.Errorf("%s, answer with %q: %v", level, told, ok)
			}
		}
	}
}

// What a majority has and does not come is told, and where it is from.
func TestQuorumReadThatIsBehind(t *testing.T) {
	f := newFederation(t, func(c *Config) { c.RequestTimeout = 500 * time.Millisecond }, "dc-a", "dc-b")
	ctx := testContext(t)
	f.update(func() { f.cut[[2]string{"dc-a", "dc-b"}] = true })
	must(t)(f.sites["dc-a"].kv(0).Put(ctx, &pb.PutRequest{Key: []byte("k")}))
	for node := range 2 {
		kv := pb.NewKVClient(f.sites["dc-b"].plain(node))
		eventually(t, fmt.Sprintf("node %d tells what is lacking", node), func() bool { // a busy machine may take longer to tell than there is time
			_, err := ways["range"](metadata.AppendToOutgoingContext(t.Context(), metaRead, "quorum"), kv, []byte("k"))
			if err == nil {
				t.Fatalf("node %d has answered", node)
			}
			return status.Code(err) == codes.FailedPrecondition && infoOf(err, reasonBehind)[infoOrigin] == "dc-a"
		})
	}
}

// However many read, few rounds run, and each read gets one that began after it.
func TestRounds(t *testing.T) {
	var mu sync.Mutex
	begun, running, most := 0, 0, 0
	var all sync.WaitGroup
	g := &rounds[int]{most: 2, spawn: all.Go}
	g.run = func() (int, error) {
		mu.Lock()
		begun++
		n := begun
		running++
		most = max(most, running)
		mu.Unlock()
		time.Sleep(time.Millisecond)
		mu.Lock()
		running--
		mu.Unlock()
		return n, nil
	}
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			for range 20 {
				mu.Lock()
				before := begun
				mu.Unlock()
				r := g.join()
				<-r.done
				if r.value <= before {
					t.Errorf("round %d was joined when %d had begun", r.value, before)
				}
			}
		})
	}
	callers.Wait()
	all.Wait()
	if most > 2 || begun > 500 {
		t.Errorf("%d rounds at a time, %d in all", most, begun)
	}
}
