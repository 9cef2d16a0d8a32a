package gateway

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// turned is a clock that a test may turn forward.
type turned struct {
	began time.Time
	ahead atomic.Int64
}

func (c *turned) uptime() time.Duration { return time.Since(c.began) + time.Duration(c.ahead.Load()) }

func newTurned() *turned { return &turned{began: time.Now()} }

// staleness is what an answer tells of its age.
func staleness(t *testing.T, trailer metadata.MD) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(value(trailer, trailerStaleness))
	if err != nil {
		t.Error(err)
	}
	return d
}

// A state that lacks something is shown as long as it is not too old; then the read waits for it, or is refused.
func TestBoundedStaleness(t *testing.T) {
	clock := newTurned()
	f := newFederation(t, func(c *Config) {
		c.Uptime = clock.uptime
		c.HomeEndpoints = map[string][]string{"dc-a": {"https://a:2379"}}
	}, "dc-a", "dc-b", "dc-c")
	ctx := testContext(t)
	key := []byte("k")
	bounded := func(bound string) context.Context {
		return metadata.AppendToOutgoingContext(ctx, metaMaxStaleness, bound)
	}
	must(t)(f.sites["dc-a"].kv(0).Put(ctx, &pb.PutRequest{Key: key, Value: []byte("old")}))
	for node := range 2 {
		kv := pb.NewKVClient(f.sites["dc-c"].plain(node))
		for what, read := range ways {
			if got, err := read(bounded("50s"), kv, key); err != nil || got != "old" {
				t.Fatalf("%s at node %d: %q, %v", what, node, got, err)
			}
		}
		f.update(func() { f.cut[[2]string{"dc-a", "dc-c"}] = true })
		must(t)(f.sites["dc-a"].kv(0).Put(ctx, &pb.PutRequest{Key: key, Value: []byte("new")}))
		var trailer metadata.MD
		got, err := kv.Range(bounded("50s"), &pb.RangeRequest{Key: key}, grpc.Trailer(&trailer))
		if err != nil || found(got) != "old" || staleness(t, trailer) > 50*time.Second {
			t.Errorf("node %d, not too old yet: %v, %v, %v", node, got, err, trailer)
		}
		clock.ahead.Add(int64(time.Minute))
		for what, read := range ways {
			start := time.Now()
			_, err := read(bounded("300ms"), kv, key)
			info := infoOf(err, reasonTooStale)
			if status.Code(err) != codes.FailedPrecondition || info[infoOrigin] != "dc-a" || info[infoMaxStaleness] != "300ms" || info[infoEndpoints] != "https://a:2379" {
				t.Errorf("%s at node %d: %v, %v", what, node, err, info)
				continue
			}
			if age, err := time.ParseDuration(info[infoStaleness]); err != nil || age < time.Minute || age > 2*time.Minute {
				t.Errorf("%s at node %d: it is told to be %s old", what, node, info[infoStaleness])
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("%s at node %d took %s to be refused", what, node, took)
			}
		}
		time.AfterFunc(20*time.Millisecond, func() { f.update(func() { clear(f.cut) }) })
		trailer = nil
		got, err = kv.Range(bounded("50s"), &pb.RangeRequest{Key: key}, grpc.Trailer(&trailer))
		if err != nil || found(got) != "new" || staleness(t, trailer) > 50*time.Second {
			t.Errorf("node %d, it came in time: %v, %v, %v", node, got, err, trailer)
		}
		must(t)(f.sites["dc-a"].kv(0).Put(ctx, &pb.PutRequest{Key: key, Value: []byte("old")}))
		f.caughtUp("dc-c", "dc-a")
		clock.ahead.Add(int64(time.Hour)) // nothing of before counts
	}
}

// Of a datacenter that is not heard from nothing is assumed: the age grows, though all that it ever wrote is here.
func TestStalenessOfASilentDatacenter(t *testing.T) {
	clock := newTurned()
	f := newFederation(t, func(c *Config) { c.Uptime = clock.uptime }, "dc-a", "dc-b", "dc-c")
	ctx := testContext(t)
	kvs := []pb.KVClient{pb.NewKVClient(f.sites["dc-c"].plain(0)), pb.NewKVClient(f.sites["dc-c"].plain(1))}
	get := func(node int, bound string) (metadata.MD, error) {
		var trailer metadata.MD
		_, err := kvs[node].Range(metadata.AppendToOutgoingContext(ctx, metaMaxStaleness, bound), &pb.RangeRequest{Key: []byte("k")}, grpc.Trailer(&trailer))
		return trailer, err
	}
	f.update(func() { f.silent["dc-b"] = "cut off" })
	for node := range 2 {
		if _, err := get(node, "1h"); infoOf(err, reasonTooStale)[infoStaleness] != "unknown" || infoOf(err, reasonTooStale)[infoOrigin] != "dc-b" || !strings.Contains(err.Error(), "cut off") {
			t.Errorf("node %d, never heard of: %v", node, err)
		}
	}
	for _, silent := range []string{"dc-a", "dc-b"} {
		f.update(func() { clear(f.silent) })
		if _, err := get(0, "1m"); err != nil {
			t.Fatal(err)
		}
		f.update(func() { f.silent[silent] = "cut off" })
		clock.ahead.Add(int64(10 * time.Minute))
		if _, err := get(0, "9m"); infoOf(err, reasonTooStale)[infoOrigin] != silent { // the others are asked anew
			t.Errorf("10 min after the last word of %s: %v", silent, err)
		}
		for node := range 2 {
			if trailer, err := get(node, "30m"); err != nil || staleness(t, trailer) < 10*time.Minute {
				t.Errorf("node %d, %s is silent: %v, %v", node, silent, trailer, err)
			}
			if _, err := get(node, "9m"); infoOf(err, reasonTooStale)[infoOrigin] != silent {
				t.Errorf("node %d, 10 min after the last word of %s: %v", node, silent, err)
			}
		}
	}
}

// In a single-writer keyspace the home counts, whoever that is, and nobody else.
func TestBoundedReadAsksTheHome(t *testing.T) {
	clock := newTurned()
	f := newFederation(t, func(c *Config) { c.Uptime = clock.uptime }, "dc-a", "dc-b", "dc-c")
	f.shift()
	ctx := testContext(t)
	bounded := metadata.AppendToOutgoingContext(ctx, metaMaxStaleness, "5s")
	key := singlePut("k", "").Key
	for i, home := range []string{"dc-a", "dc-b", "dc-c"} {
		if i > 0 {
			f.move(fedSpace, home)
		}
		must(t)(f.sites[home].kv(0).Put(ctx, singlePut("k", home)))
		f.caughtUp("dc-c", home)
		f.mu.Lock()
		f.calls = nil
		for _, other := range []string{"dc-a", "dc-b"} {
			if other != home {
				f.silent[other] = "cut off"
			}
		}
		f.mu.Unlock()
		clock.ahead.Add(int64(time.Hour))
		for node := range 2 {
			for what, read := range ways {
				if got, err := read(bounded, f.sites["dc-c"].kv(node), key); err != nil || got != home {
					t.Errorf("home %s, %s at node %d: %q, %v", home, what, node, got, err)
				}
			}
		}
		f.mu.Lock()
		for _, call := range f.calls {
			if call != "dc-c "+home+" "+callReadPoint {
				t.Errorf("home %s: %s", home, call)
			}
		}
		clear(f.silent)
		f.mu.Unlock()
	}
	// A home that can't tell whether it is one still answers for nothing.
	f.move(fedSpace, "dc-a")
	f.update(func() { f.why[fedSpace] = "the lease has run out" })
	clock.ahead.Add(int64(time.Hour))
	for node := range 2 {
		_, err := ways["range"](bounded, pb.NewKVClient(f.sites["dc-c"].plain(node)), key)
		if info := infoOf(err, reasonTooStale); info[infoKeyspace] != fedSpace || info[infoHome] != "dc-a" || !strings.Contains(err.Error(), "the lease has run out") {
			t.Errorf("node %d: %v", node, err)
		}
	}
	// Whoever asks for eventual does not ask the home.
	for _, level := range []string{"eventual", "sequential"} {
		if got, err := ways["transaction"](metadata.AppendToOutgoingContext(ctx, metaRead, level), f.sites["dc-c"].kv(0), key); err != nil || got != "dc-c" {
			t.Errorf("%s: %q, %v", level, got, err)
		}
	}
}

func TestLevelsOverHTTP(t *testing.T) {
	s := newSite(t, 1, nil)
	body := `{"key":"` + b64("a") + `"}`
	for query, want := range map[string]int{
		"read=quorum": http.StatusOK, "read=eventual": http.StatusOK, "max-staleness=2s": http.StatusOK,
		"read=any": http.StatusBadRequest, "max-staleness=2": http.StatusBadRequest,
	} {
		code, header, fields := call(t, s.browser(0), "/v3/kv/range?"+query, body)
		if code != want {
			t.Errorf("?%s: %d %v", query, code, fields)
		}
		if told := header.Get("Geogate-Staleness"); (told != "") != (query == "max-staleness=2s") {
			t.Errorf("?%s: Geogate-Staleness: %q", query, told)
		}
	}
	if code, _, fields := call(t, s.browser(0), "/v3/kv/range", body, "Geogate-Read", "any"); code != http.StatusBadRequest {
		t.Errorf("Geogate-Read: any: %d %v", code, fields)
	}
}
