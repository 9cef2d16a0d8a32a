package oracle

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
)

const (
	syncTimeout = 20 * time.Second
	syncPause   = 20 * time.Millisecond
)

// watchStream is one stream of watches and all that came over it.
type watchStream struct {
	stream pb.Watch_WatchClient
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	control  []string           // created and canceled, in order. guarded by mu, as all below
	events   map[int64][]string // by watch
	last     map[int64]int64    // revision of the newest event, by watch
	progress int64              // of the newest answer that spoke for all watches
	answers  int                // of that kind
	covered  map[int64]int64    // revision that such an answer promised, by the watches that there were then
	muted    bool               // a watch was cut off by compaction
	disorder string             // the first breach of order, when there was one
	failed   error
}

func (s *server) openStream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := pb.NewWatchClient(s.conn).Watch(ctx)
	if err != nil {
		cancel()
		return fmt.Errorf("%s: watch: %w", s.name, err)
	}
	w := &watchStream{stream: stream, cancel: cancel, done: make(chan struct{}), events: map[int64][]string{}, last: map[int64]int64{}, covered: map[int64]int64{}}
	go w.receive()
	s.streams = append(s.streams, w)
	// etcd leaves a stream without watches unanswered when it is asked for progress.
	return w.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte("sentinel")},
	}})
}

func (w *watchStream) close() {
	w.cancel()
	<-w.done
}

func (w *watchStream) receive() {
	defer close(w.done)
	for {
		r, err := w.stream.Recv()
		w.mu.Lock()
		if err != nil {
			w.failed = err
			w.mu.Unlock()
			return
		}
		w.take(r)
		w.mu.Unlock()
	}
}

// take notes a response. How events are divided into responses is the server's choice, but what belongs to one
// revision comes together and revisions grow. The caller holds mu.
func (w *watchStream) take(r *pb.WatchResponse) {
	if r.Created || r.Canceled {
		w.control = append(w.control, fmt.Sprintf("watch %d created=%t canceled=%t compacted=%d reason=%q",
			r.WatchId, r.Created, r.Canceled, r.CompactRevision, r.CancelReason))
		w.muted = w.muted || r.CompactRevision != 0
		if r.Created && !r.Canceled {
			w.covered[r.WatchId] = 0
			w.last[r.WatchId] = 0
		}
	}
	if len(r.Events) == 0 {
		if !r.Created && !r.Canceled && r.WatchId == -1 {
			w.answers++
			w.progress = max(w.progress, r.Header.Revision)
			for id := range w.covered {
				w.covered[id] = r.Header.Revision
			}
		}
		return
	}
	for _, e := range r.Events {
		if e.Kv.ModRevision < w.last[r.WatchId] && w.disorder == "" {
			w.disorder = fmt.Sprintf("watch %d: revision %d after %d", r.WatchId, e.Kv.ModRevision, w.last[r.WatchId])
		}
		if e.Kv.ModRevision <= w.covered[r.WatchId] && w.disorder == "" {
			w.disorder = fmt.Sprintf("watch %d: revision %d after progress %d", r.WatchId, e.Kv.ModRevision, w.covered[r.WatchId])
		}
		w.last[r.WatchId] = e.Kv.ModRevision
		w.events[r.WatchId] = append(w.events[r.WatchId], prototext.MarshalOptions{}.Format(e))
	}
}

func (w *watchStream) isMuted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.muted
}

// settle returns when the server has said that everything up to the revision was sent, or will not say it.
func (w *watchStream) settle(ctx context.Context, revision int64, muted func() bool) error {
	deadline := time.Now().Add(syncTimeout)
	w.mu.Lock()
	before := w.answers
	w.mu.Unlock()
	for {
		w.mu.Lock()
		at, fresh, failed := w.progress, w.answers > before, w.failed
		w.mu.Unlock()
		switch {
		case failed != nil:
			return failed
		case fresh && at >= revision, muted():
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("progress is %d after %s, want %d", at, syncTimeout, revision)
		}
		ask := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
		if err := w.stream.Send(ask); err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-time.After(syncPause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// differFrom compares two streams that have settled.
func (w *watchStream) differFrom(ours *watchStream) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ours.mu.Lock()
	defer ours.mu.Unlock()
	if ours.disorder != "" {
		return "ours is out of order: " + ours.disorder
	}
	if !slices.Equal(w.control, ours.control) {
		return fmt.Sprintf("etcd:\n  %s\nours:\n  %s", strings.Join(w.control, "\n  "), strings.Join(ours.control, "\n  "))
	}
	for id := range max(maxKey(w.events), maxKey(ours.events)) + 1 {
		a, b := w.events[id], ours.events[id]
		for i := range max(len(a), len(b)) {
			if i >= len(a) || i >= len(b) || a[i] != b[i] {
				return fmt.Sprintf("watch %d, event %d of %d and %d:\netcd: %s\nours: %s", id, i, len(a), len(b), nth(a, i), nth(b, i))
			}
		}
	}
	return ""
}

func maxKey(m map[int64][]string) int64 {
	greatest := int64(-1)
	for id := range m {
		greatest = max(greatest, id)
	}
	return greatest
}

func nth(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "(none)"
}

func (g *generator) watchCreate() *pb.WatchCreateRequest {
	r := &pb.WatchCreateRequest{Key: g.key(), PrevKv: g.one(2), Fragment: g.one(4), ProgressNotify: g.one(4)}
	r.RangeEnd = g.end(r.Key)
	switch g.IntN(5) {
	case 0:
		r.StartRevision = 1 + g.Int64N(g.revision)
	case 1:
		r.StartRevision = max(g.compacted+g.Int64N(4)-2, 0)
	case 2:
		r.StartRevision = g.revision + g.Int64N(6)
	}
	if g.one(40) {
		r.StartRevision = -1
	}
	if g.one(6) {
		r.Filters = append(r.Filters, pb.WatchCreateRequest_FilterType(g.IntN(2)))
	}
	if g.one(10) {
		r.WatchId = 1 + g.Int64N(4)
	}
	return r
}

// watchCancel names a watch that may exist.
func (g *generator) watchCancel() *pb.WatchCancelRequest {
	return &pb.WatchCancelRequest{WatchId: 1 + g.Int64N(12)}
}
