package bench

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// kv is just enough of an etcd to be measured.
type kv struct {
	pb.UnimplementedKVServer

	delay    time.Duration
	began    chan struct{}       // gets each put; may be nil
	fail     func(n int64) error // of the n-th put, from 1
	refuse   bool                // every comparison fails
	puts     atomic.Int64
	active   atomic.Int64
	most     atomic.Int64 // puts at the same time
	mu       sync.Mutex
	data     map[string][]byte
	policies map[string]int
	peers    map[string]bool // client addresses
}

func (s *kv) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	s.most.Store(max(s.most.Load(), s.active.Add(1)))
	defer s.active.Add(-1)
	n := s.puts.Add(1)
	if s.began != nil {
		s.began <- struct{}{}
	}
	if s.delay > 0 {
		select {
		case <-time.After(s.delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if s.fail != nil {
		if err := s.fail(n); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data[string(r.Key)] = r.Value
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		s.policies[strings.Join(md.Get(PolicyHeader), ",")]++
	}
	if p, ok := peer.FromContext(ctx); ok {
		s.peers[p.Addr.String()] = true
	}
	return &pb.PutResponse{Header: &pb.ResponseHeader{Revision: n}}, nil
}

func (s *kv) Range(_ context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &pb.RangeResponse{Header: &pb.ResponseHeader{}}
	for k, v := range s.data {
		if k == string(r.Key) || len(r.RangeEnd) > 0 && k >= string(r.Key) && k < string(r.RangeEnd) {
			out.Count++
			if !r.CountOnly {
				out.Kvs = append(out.Kvs, &mvccpb.KeyValue{Key: []byte(k), Value: v})
			}
		}
	}
	return out, nil
}

// Txn understands what a run sends: a comparison of a version and a put.
func (s *kv) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if len(r.Compare) != 1 || r.Compare[0].GetTarget() != pb.Compare_VERSION || len(r.Success) != 1 || len(r.Failure) != 0 {
		return nil, status.Errorf(codes.InvalidArgument, "unexpected %v", r)
	}
	put := r.Success[0].GetRequestPut()
	if string(put.GetKey()) != string(r.Compare[0].GetKey()) {
		return nil, status.Errorf(codes.InvalidArgument, "compares %q and puts %q", r.Compare[0].GetKey(), put.GetKey())
	}
	if s.refuse {
		return &pb.TxnResponse{Header: &pb.ResponseHeader{}}, nil
	}
	if _, err := s.Put(ctx, put); err != nil {
		return nil, err
	}
	return &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: true}, nil
}

func serveKV(t *testing.T, s *kv) string {
	t.Helper()
	s.data, s.policies, s.peers = map[string][]byte{}, map[string]int{}, map[string]bool{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	pb.RegisterKVServer(srv, s)
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(srv.Stop)
	return l.Addr().String()
}

func TestPutTotal(t *testing.T) {
	s := &kv{delay: 2 * time.Millisecond}
	addr := serveKV(t, s)
	r, err := Run(context.Background(), Config{Endpoints: []string{addr}, Op: Put, Clients: 70, Total: 700, Keys: 50, ValueBytes: 33, Policy: "ALL"})
	if err != nil {
		t.Fatal(err)
	}
	if r.Total != 700 || r.Errors != 0 || s.puts.Load() != 700 {
		t.Errorf("%d requests, %d errors, the server saw %d; want 700 and no error", r.Total, r.Errors, s.puts.Load())
	}
	if r.Connections != 3 || len(s.peers) != 3 {
		t.Errorf("%d connections, the server saw %d; want 3 for 70 clients", r.Connections, len(s.peers))
	}
	if s.most.Load() > 70 || s.most.Load() < 35 {
		t.Errorf("%d requests at the same time, want about 70", s.most.Load())
	}
	if s.policies["ALL"] != 700 {
		t.Errorf("policies asked for: %v", s.policies)
	}
	if len(s.data) != 50 || len(s.data["/bench/00000007"]) != 33 {
		t.Errorf("%d keys with values of %d bytes, want 50 of 33", len(s.data), len(s.data["/bench/00000007"]))
	}
	if r.P50 < 2 || r.P50 > r.P90 || r.P90 > r.P99 || r.P99 > r.P999 || r.P999 > r.Max {
		t.Errorf("latencies of at least 2 ms must grow with the percentile: %+v", r)
	}
	// Little's law holds in a closed loop: clients = rate x mean latency.
	if n := r.Rate * r.Mean / 1000; n < 35 || n > 75 {
		t.Errorf("rate %.0f/s and mean latency %.2f ms mean %.0f clients, want about 70", r.Rate, r.Mean, n)
	}
}

func TestDuration(t *testing.T) {
	addr := serveKV(t, &kv{delay: time.Millisecond})
	r, err := Run(context.Background(), Config{Endpoints: []string{addr}, Op: Put, Clients: 4, Duration: 200 * time.Millisecond})
	if err != nil || r.Seconds < 0.2 || r.Total == 0 || r.Errors != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestGetFillsFirst(t *testing.T) {
	s := &kv{}
	addr := serveKV(t, s)
	c := Config{Endpoints: []string{addr}, Op: Get, Clients: 8, Total: 300, Keys: 40}
	r, err := Run(context.Background(), c)
	if err != nil || r.Total != 300 || r.Errors != 0 || r.Op != Get {
		t.Errorf("%+v, %v", r, err)
	}
	if len(s.data) != 40 || s.puts.Load() != 40 {
		t.Errorf("%d keys by %d puts, want 40 by 40", len(s.data), s.puts.Load())
	}
	if _, err := Run(context.Background(), c); err != nil || s.puts.Load() != 40 {
		t.Errorf("a second run: %v, %d puts; want it to find the keys", err, s.puts.Load())
	}
}

func TestTxnComparesAndPuts(t *testing.T) {
	s := &kv{}
	c := Config{Endpoints: []string{serveKV(t, s)}, Op: Txn, Clients: 4, Total: 200, Keys: 20, ValueBytes: 7, Policy: "QUORUM"}
	r, err := Run(context.Background(), c)
	if err != nil || r.Op != Txn || r.Total != 200 || r.Errors != 0 || s.puts.Load() != 200 || s.policies["QUORUM"] != 200 {
		t.Errorf("%+v, %v; the server saw %d puts, policies %v; want 200 transactions that put", r, err, s.puts.Load(), s.policies)
	}
}

func TestTxnThatDidNotPutIsAnError(t *testing.T) {
	s := &kv{refuse: true}
	r, err := Run(context.Background(), Config{Endpoints: []string{serveKV(t, s)}, Op: Txn, Clients: 2, Total: 4})
	if err != nil || r.Errors != 4 || !strings.Contains(r.FirstError, errCompare.Error()) {
		t.Errorf("%+v, %v; want 4 errors that say what did not hold", r, err)
	}
}

func TestErrorsAreCounted(t *testing.T) {
	s := &kv{fail: func(n int64) error {
		if n%4 == 0 {
			return status.Error(codes.FailedPrecondition, "every fourth fails")
		}
		return nil
	}}
	r, err := Run(context.Background(), Config{Endpoints: []string{serveKV(t, s)}, Op: Put, Clients: 5, Total: 100})
	if err != nil {
		t.Fatal(err)
	}
	if r.Total != 100 || r.Errors != 25 || !strings.Contains(r.FirstError, "every fourth fails") || s.puts.Load() != 100 {
		t.Errorf("%d requests at the server, result %+v; want 25 errors, none retried", s.puts.Load(), r)
	}
}

func TestCancelEndsEarly(t *testing.T) {
	s := &kv{delay: time.Minute, began: make(chan struct{}, 10)}
	addr := serveKV(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan Result)
	go func() {
		r, err := Run(ctx, Config{Endpoints: []string{addr}, Op: Put, Clients: 2, Total: 10})
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	for range 2 {
		<-s.began
	}
	cancel()
	if r := <-done; r.Total != 0 || r.Errors != 0 {
		t.Errorf("what was cut off is no result: %+v", r)
	}
}

func TestStartErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	for name, c := range map[string]Config{
		"no endpoint": {Op: Put},
		"no op":       {Endpoints: []string{"x:1"}},
		"negative":    {Endpoints: []string{"x:1"}, Op: Put, Total: -1},
	} {
		if _, err := Run(context.Background(), c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = Run(context.Background(), Config{Endpoints: []string{l.Addr().String()}, Op: Put, Timeout: 300 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "no answer from "+l.Addr().String()) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestConnections(t *testing.T) {
	for _, c := range []struct{ clients, endpoints, want int }{{1, 1, 1}, {32, 1, 1}, {33, 1, 2}, {256, 1, 8}, {1, 3, 1}, {6, 3, 3}} {
		cfg := Config{Clients: c.clients, Endpoints: make([]string, c.endpoints)}
		if got := cfg.connections(); got != c.want {
			t.Errorf("%d clients, %d endpoints: %d connections, want %d", c.clients, c.endpoints, got, c.want)
		}
	}
}
