package watch

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
)

// Source is where events come from: the data of one node.
type Source interface {
	// Revision is the newest one that is visible to reads and was queued to watchers.
	Revision() int64
	// Watch never fails: what is wrong with the start revision is the first error of Next.
	Watch(store.WatchOptions) Watcher
}

// Watcher is one watch of a [Source]. Next is called by one goroutine, Progress by the same one between two calls of
// Next.
type Watcher interface {
	// Next waits for events, in revision order; the events of one revision come together. When ctx ends it
	// returns ctx's error and the next call goes on where this one stood. [store.ErrCompactedAt] is final.
	Next(ctx context.Context) (store.WatchEvents, error)
	// Progress is the revision up to which Next has returned everything, and whether there is nothing more
	// to return at present.
	Progress() (revision int64, synced bool)
	Close()
}

// Config is what streams need of the gateway around them. All of it is required.
type Config struct {
	Source Source
	Header func(revision int64) *pb.ResponseHeader

	// Admit is asked before a stream begins, and ends it when lost is closed. lost may be nil.
	Admit func(ctx context.Context) (lost <-chan struct{}, err error)
	// Authorize says whether the caller may read a range.
	Authorize func(ctx context.Context, key, end []byte) error
	// Status is the gRPC error of a domain error.
	Status func(error) error

	MaxResponseBytes int             // above it, responses are split when the client asked for that
	ProgressInterval time.Duration   // of periodic progress
	Stopping         <-chan struct{} // when closed, streams end

	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: off
}

// Server is etcd's Watch service.
type Server struct {
	pb.UnsafeWatchServer

	cfg       Config
	source    Source
	metrics   *metrics
	receivers sync.WaitGroup
}

// NewServer builds the service. The error is that of the Registerer.
func NewServer(cfg Config) (*Server, error) {
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	return &Server{cfg: cfg, source: cfg.Source, metrics: m}, nil
}

// Wait returns when the goroutines of streams that have ended are gone.
func (s *Server) Wait() { s.receivers.Wait() }

// Watch serves a stream until the client leaves, the gateway stops, or the leader is lost and the client
// requires one. Whoever receives can't be interrupted, so it has a goroutine that ends just after Watch.
func (s *Server) Watch(rpc pb.Watch_WatchServer) error {
	lost, err := s.cfg.Admit(rpc.Context())
	if err != nil {
		return s.cfg.Status(err)
	}
	ctx, end := context.WithCancelCause(rpc.Context())
	st := &stream{Server: s, rpc: rpc, ctx: ctx, end: end, watches: map[int64]*watch{}}
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()

	s.receivers.Go(func() {
		if err := st.receive(); err != nil {
			end(err)
		}
	})
	select {
	case <-ctx.Done():
	case <-lost:
		end(rpctypes.ErrGRPCNoLeader)
	case <-s.cfg.Stopping:
		end(rpctypes.ErrGRPCStopped)
	}
	st.close()
	err = context.Cause(ctx)
	if errors.Is(err, context.Canceled) {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return s.cfg.Status(err)
}
