package oracle

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// Config is one run. All fields are required.
type Config struct {
	Etcd, Geogate string // client endpoints, host:port, both empty of data
	Seed          uint64
	Steps         int
	Leases        bool // ask about leases too
}

const (
	maxStreams    = 3
	settleEvery   = 25 // steps
	watchOneIn    = 12 // steps
	streamRestart = 40 // one in so many watches replaces its stream
	overtaken     = 50 // pauses before a difference between streams counts
)

// ErrDifferent is a difference between the two servers.
var ErrDifferent = errors.New("the answers differ")

// Stats counts what a run has compared.
type Stats struct{ Steps, Failures, Events int }

// run is a run under way.
type run struct {
	generator
	etcd, ours *server
	future     int64 // the greatest start revision of a watch
	fatal      map[int64]bool
	stats      Stats
}

// Run asks both servers until they differ or the steps are done.
func Run(ctx context.Context, c Config) (Stats, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	etcd, err := dial("etcd", c.Etcd)
	if err != nil {
		return Stats{}, err
	}
	defer func() { _ = etcd.close() }()
	ours, err := dial("geogate", c.Geogate)
	if err != nil {
		return Stats{}, err
	}
	defer func() { _ = ours.close() }()
	r := &run{generator: generator{Rand: rand.New(rand.NewPCG(c.Seed, 0)), revision: 1, leases: c.Leases}, etcd: etcd, ours: ours, fatal: map[int64]bool{}}
	for r.stats.Steps = 0; r.stats.Steps < c.Steps; r.stats.Steps++ {
		if err := r.step(ctx); err != nil {
			return r.stats, fmt.Errorf("seed %d, step %d: %w", c.Seed, r.stats.Steps, err)
		}
	}
	if err := r.settle(ctx); err != nil {
		return r.stats, fmt.Errorf("seed %d, at the end: %w", c.Seed, err)
	}
	for len(etcd.streams) > 0 {
		r.drop(0)
	}
	return r.stats, nil
}

func (r *run) step(ctx context.Context) error {
	if r.one(watchOneIn) {
		if err := r.watchStep(ctx); err != nil {
			return err
		}
	}
	request := r.next()
	c, compacts := request.(*pb.CompactionRequest)
	if compacts && r.fatal[c.Revision] {
		return nil // etcd 3.7.3 loses the key, and ends when it is read
	}
	if compacts || r.stats.Steps%settleEvery == 0 {
		// A watcher that is behind when history goes may be cut off or not: both are right.
		if err := r.settle(ctx); err != nil {
			return err
		}
	}
	return r.both(ctx, request)
}

// both asks the two and compares.
func (r *run) both(ctx context.Context, request proto.Message) error {
	theirs, ours := outcomeOf(r.etcd.ask(ctx, request)), outcomeOf(r.ours.ask(ctx, request))
	if d := differ(theirs, ours); d != "" {
		return fmt.Errorf("%w: %T %s\n%s", ErrDifferent, request, prototext.MarshalOptions{}.Format(request), d)
	}
	if theirs.message == nil {
		r.stats.Failures++
		return nil
	}
	if h, ok := theirs.message.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		if txn, ok := request.(*pb.TxnRequest); ok && putsBack(txn) {
			r.fatal[h.GetHeader().GetRevision()] = true
		}
		r.revision = max(r.revision, h.GetHeader().GetRevision())
	}
	if c, ok := request.(*pb.CompactionRequest); ok {
		r.compacted = c.Revision
	}
	return nil
}

// putsBack says whether a transaction may delete a key and put it again, which etcd takes when the deletion is of all keys from
// one on.
func putsBack(txn *pb.TxnRequest) bool {
	deletes, puts := false, false
	var look func(txn *pb.TxnRequest)
	look = func(txn *pb.TxnRequest) {
		for _, op := range slices.Concat(txn.Success, txn.Failure) {
			d := op.GetRequestDeleteRange()
			deletes = deletes || d != nil && string(d.RangeEnd) == "\x00"
			puts = puts || op.GetRequestPut() != nil
			if nested := op.GetRequestTxn(); nested != nil {
				look(nested)
			}
		}
	}
	look(txn)
	return deletes && puts
}

// watchStep does the same to a watch of both servers and waits until both have answered.
func (r *run) watchStep(ctx context.Context) error {
	n := len(r.etcd.streams)
	switch {
	case n < maxStreams:
		if err := errors.Join(r.etcd.openStream(ctx), r.ours.openStream(ctx)); err != nil {
			return err
		}
	case r.one(streamRestart):
		if err := r.settle(ctx); err != nil {
			return err
		}
		r.drop(0)
		return nil
	}
	at := r.IntN(len(r.etcd.streams))
	request := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r.watchCreate()}}
	if r.one(4) {
		request.RequestUnion = &pb.WatchRequest_CancelRequest{CancelRequest: r.watchCancel()}
	}
	for _, s := range []*server{r.etcd, r.ours} {
		if err := s.streams[at].stream.Send(proto.CloneOf(request)); err != nil {
			return fmt.Errorf("%s: watch: %w", s.name, err)
		}
	}
	if start := request.GetCreateRequest().GetStartRevision(); start > r.revision {
		r.future = max(r.future, start)
		return nil // etcd is silent about progress until the revision is there
	}
	if err := r.settle(ctx); err != nil {
		return fmt.Errorf("after %s: %w", prototext.MarshalOptions{}.Format(request), err)
	}
	return nil
}

// settle waits until all watches have everything, and compares them.
func (r *run) settle(ctx context.Context) error {
	for r.revision < r.future {
		if err := r.both(ctx, &pb.PutRequest{Key: []byte("filler")}); err != nil {
			return err
		}
	}
	for i := range r.etcd.streams {
		for _, s := range []*server{r.etcd, r.ours} {
			if r.etcd.streams[i].isMuted() {
				continue
			}
			if err := s.streams[i].settle(ctx, r.revision, r.etcd.streams[i].isMuted); err != nil {
				return fmt.Errorf("%s: watch stream %d: %w", s.name, i, err)
			}
		}
		if err := r.compareStreams(ctx, i); err != nil {
			return err
		}
	}
	r.dropMuted()
	return nil
}

// dropMuted ends streams on which a watch was cut off by compaction: from then on etcd answers no question
// for progress there.
func (r *run) dropMuted() {
	for i := len(r.etcd.streams) - 1; i >= 0; i-- {
		if r.etcd.streams[i].isMuted() {
			r.drop(i)
		}
	}
}

// drop ends a stream that was compared.
func (r *run) drop(i int) {
	for _, s := range []*server{r.etcd, r.ours} {
		s.streams[i].close()
		if s == r.etcd {
			for _, events := range s.streams[i].events {
				r.stats.Events += len(events)
			}
		}
		s.streams = slices.Delete(s.streams, i, i+1)
	}
}

// compareStreams has some patience: an answer for all watches may overtake the one that a watch was created.
func (r *run) compareStreams(ctx context.Context, i int) error {
	for try := 0; ; try++ {
		d := r.etcd.streams[i].differFrom(r.ours.streams[i])
		if d == "" {
			return nil
		}
		if try == overtaken {
			return fmt.Errorf("%w: watch stream %d\n%s", ErrDifferent, i, d)
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}
