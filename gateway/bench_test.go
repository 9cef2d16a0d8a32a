package gateway

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/dc/store"
	"geogate/gateway/watch"
	"geogate/replication/event"
)

// instant is a datacenter that commits at once and stores nothing: what is left is the gateway.
type instant struct {
	Datacenter
	revision atomic.Int64
}

func (d *instant) Name() string                           { return "dc-a" }
func (d *instant) Leading() (uint64, bool)                { return 2, true }
func (d *instant) Leader() uint64                         { return 1 }
func (d *instant) LeadershipChanged() <-chan struct{}     { return nil }
func (d *instant) State() State                           { return State{} }
func (d *instant) Revision() int64                        { return d.revision.Load() }
func (d *instant) Position(string) event.Position         { return event.Position{} }
func (d *instant) Watch(store.WatchOptions) watch.Watcher { return nil }

func (d *instant) Put(context.Context, *pb.PutRequest) (*pb.PutResponse, dc.Commit, error) {
	r := d.revision.Add(1)
	return &pb.PutResponse{Header: &pb.ResponseHeader{Revision: r}}, dc.Commit{Revision: r}, nil
}

func (d *instant) Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
	return &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: d.revision.Load()}}, nil
}

func newInstant(b testing.TB, l net.Listener, change func(*Config)) *Server {
	b.Helper()
	d := &instant{}
	cfg := Config{
		Listener: l, ClusterID: 1, MemberID: 1, Members: []Member{{ID: 1}}, Datacenter: d, Inspector: d, Replication: nobody{},
	}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkPutHandler is the handler alone.
func BenchmarkPutHandler(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := newInstant(b, l, nil)
	defer s.Kill()
	req := &pb.PutRequest{Key: []byte("key-000001"), Value: make([]byte, 256)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (kvServer{Server: s}).Put(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRangeHandler is the handler of a linearizable read alone, with the metadata that a client sends.
func BenchmarkRangeHandler(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := newInstant(b, l, nil)
	defer s.Kill()
	ctx := metadata.NewIncomingContext(b.Context(), metadata.Pairs(
		":authority", "node", "content-type", "application/grpc", "user-agent", "grpc-go", "hasleader", "false", "grpc-accept-encoding", "gzip"))
	req := &pb.RangeRequest{Key: []byte("key-000001")}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (kvServer{Server: s}).Range(ctx, req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPut goes over loopback with 64 callers, with and without grpc's pool of workers.
func BenchmarkPut(b *testing.B) {
	for _, c := range []struct {
		name    string
		workers uint32
	}{{"goroutines", 0}, {"workers=16", 16}} {
		b.Run(c.name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			s := newInstant(b, l, func(cfg *Config) { cfg.StreamWorkers = c.workers })
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			defer func() {
				cancel()
				if err := <-done; err != nil {
					b.Error(err)
				}
			}()
			conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			kv := pb.NewKVClient(conn)
			req := &pb.PutRequest{Key: []byte("key-000001"), Value: make([]byte, 256)}
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := kv.Put(ctx, req); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
