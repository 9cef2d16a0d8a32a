package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"geogate/test/cluster"
)

// repeater sends every write with a request id until it is answered, at whichever node.
type repeater struct {
	t    *testing.T
	kv   pb.KVClient
	name string

	tokens   map[string]string // id of a put -> token of its answer
	count    int               // increments that were answered
	retries  int
	replayed int // answers that said that the write was made before
}

// once sends a request until there is an answer, and gives up some attempts early so that their outcome is not known.
func (r *repeater) once(ctx context.Context, id string, call func(context.Context, ...grpc.CallOption) error) (token string, ok bool) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		patience := 3 * time.Second
		if attempt < 3 && rand.IntN(3) == 0 {
			patience = time.Duration(1+rand.IntN(15)) * time.Millisecond
		}
		one, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "geogate-request-id", id), patience)
		var md metadata.MD
		err := call(one, grpc.Trailer(&md), grpc.WaitForReady(true))
		cancel()
		if err == nil {
			if len(md["geogate-replayed"]) > 0 {
				r.replayed++
			}
			return strings.Join(md["geogate-token"], " "), true
		}
		r.retries++
	}
	return "", false
}

func (r *repeater) key(i int) string { return fmt.Sprintf("once/%s/%05d", r.name, i) }

func onceRequest(key string) *pb.PutRequest {
	return &pb.PutRequest{Key: []byte(key), Value: []byte("v")}
}

// increment is a transaction that holds only while the counter is at n.
func (r *repeater) increment(n int) *pb.TxnRequest {
	put := func(key, value string) []*pb.RequestOp {
		return []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}}}
	}
	counter := "counter/" + r.name
	return &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: []byte(counter), Target: pb.Compare_VERSION, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Version{Version: int64(n)},
		}},
		Success: put(counter, fmt.Sprint(n+1)), Failure: put(fmt.Sprintf("twice/%s/%d", r.name, n), "v"),
	}
}

func (r *repeater) run(ctx context.Context, stop <-chan struct{}, progress func()) {
	for i := 0; ctx.Err() == nil; i++ {
		select {
		case <-stop:
			return
		default:
		}
		key := r.key(i)
		token, ok := r.once(ctx, key, func(ctx context.Context, o ...grpc.CallOption) error {
			_, err := r.kv.Put(ctx, onceRequest(key), o...)
			return err
		})
		if ok {
			r.tokens[key] = token
		}
		_, ok = r.once(ctx, fmt.Sprintf("%s+%d", r.name, i), func(ctx context.Context, o ...grpc.CallOption) error {
			resp, err := r.kv.Txn(ctx, r.increment(r.count), o...)
			if err == nil && !resp.Succeeded {
				r.t.Errorf("%s: increment %d was answered as if it had been made before", r.name, r.count)
			}
			return err
		})
		if ok {
			r.count++
		}
		progress()
	}
}

// TestRetriesAreAppliedOnce repeats writes with one request id at any node while leaders are killed with
// SIGKILL: every write may be there once, and the answer must be the first one; in the other datacenter too.
func TestRetriesAreAppliedOnce(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Nodes: 3, DCs: allDCs[:2], Edit: smallRaftTimes})
	var mu sync.Mutex
	done := 0
	progress := func() {
		mu.Lock()
		defer mu.Unlock()
		done++
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var rs []*repeater
	for i := range 6 {
		r := &repeater{t: t, kv: pb.NewKVClient(c.Client("us-east").ActiveConnection()), name: fmt.Sprint(i), tokens: map[string]string{}}
		rs = append(rs, r)
		wg.Go(func() { r.run(t.Context(), stop, progress) })
	}
	for range 5 {
		mu.Lock()
		before := done
		mu.Unlock()
		victim := c.Leader("us-east")
		victim.Kill()
		c.Eventually(20*time.Second, "writes to go on without "+victim.Spec.Name, func() string {
			mu.Lock()
			defer mu.Unlock()
			if done < before+30 {
				return fmt.Sprintf("%d done, %d before the kill", done, before)
			}
			return ""
		})
		victim.Start()
	}
	close(stop)
	wg.Wait()
	c.Leader("us-east")
	c.WaitEqual(30 * time.Second)

	replayed, retries := 0, 0
	for _, r := range rs {
		replayed += r.replayed
		retries += r.retries
		checkOnce(t, c, r)
	}
	if replayed == 0 {
		t.Error("no retry met its own first attempt: the test has shown nothing")
	}
	t.Logf("%d pairs of writes, %d retries, %d answers of a write made before", done, retries, replayed)

	// The whole datacenter is gone: the other one knows what it has answered.
	for _, p := range c.Nodes("us-east") {
		p.Kill()
	}
	there := pb.NewKVClient(c.Client("eu-west").ActiveConnection())
	for _, r := range rs {
		for _, i := range []int{0, len(r.tokens) - 1} {
			key := r.key(i)
			ctx := metadata.AppendToOutgoingContext(t.Context(), "geogate-request-id", key)
			var md metadata.MD
			_, err := there.Put(ctx, onceRequest(key), grpc.Trailer(&md), grpc.WaitForReady(true))
			if got := strings.Join(md["geogate-token"], " "); err != nil || got != r.tokens[key] || len(md["geogate-replayed"]) != 1 ||
				strings.Join(md["geogate-acked-by"], " ") != "eu-west,us-east" {
				t.Errorf("%s repeated in eu-west: %v, %v, its token is %s", key, md, err, r.tokens[key])
			}
		}
	}
	resp, err := c.Client("eu-west").Get(t.Context(), "once/", withPrefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		if kv.Version != 1 {
			t.Errorf("%s has version %d after the failover", kv.Key, kv.Version)
		}
	}
}

// checkOnce reads what became of a repeater's writes, in both datacenters.
func checkOnce(t *testing.T, c *cluster.Cluster, r *repeater) {
	t.Helper()
	for _, d := range c.Topology.Datacenters {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		client := c.Client(d.Name)
		puts, err := client.Get(ctx, "once/"+r.name+"/", withPrefix)
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range puts.Kvs {
			if kv.Version != 1 {
				t.Errorf("%s: %s was written %d times", d.Name, kv.Key, kv.Version)
			}
		}
		if len(puts.Kvs) < len(r.tokens) {
			t.Errorf("%s: %d puts were answered, %d are there", d.Name, len(r.tokens), len(puts.Kvs))
		}
		counter, err := client.Get(ctx, "counter/"+r.name)
		if err != nil || len(counter.Kvs) != 1 || string(counter.Kvs[0].Value) != fmt.Sprint(r.count) || counter.Kvs[0].Version != int64(r.count) {
			t.Errorf("%s: counter %s: %v, %v after %d increments", d.Name, r.name, counter, err, r.count)
		}
		twice, err := client.Get(ctx, "twice/"+r.name+"/", withPrefix)
		cancel()
		if err != nil || twice.Count != 0 {
			t.Errorf("%s: increments were tried twice: %v, %v", d.Name, twice, err)
		}
	}
}
