package watch

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
)

// What a watch can be asked for.
const (
	askRound    = 1 << iota // progress for the stream's round
	askPeriodic             // progress of its own
)

// watch is one watch of a stream. Its goroutine fetches events and sends them.
//
// Progress may never overtake an event, so it is reported by the same goroutine, between two calls of Next,
// when it holds no event. Whoever wants progress asks and interrupts Next.
type watch struct {
	stream   *stream
	id       int64
	fragment bool
	notify   bool
	source   Watcher     // set before run
	busy     atomic.Bool // an event was sent since the last periodic progress

	owes  bool        // a report to the stream's round. Of the watch's goroutine
	retry *time.Timer // asks again while it is owed. Of the watch's goroutine

	ended bool // nothing may be sent any more. guarded by stream.sendMu

	mu      sync.Mutex
	asked   int                // guarded by mu, as all below
	stopped bool               // no Next may wait any more
	cancel  context.CancelFunc // of the Next under way
}

// stop makes the goroutine end.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.cancel != nil {
		w.cancel()
	}
}

func (w *watch) ask(what int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked |= what
	if w.cancel != nil {
		w.cancel()
	}
}

// questions takes what was asked.
func (w *watch) questions() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := w.asked
	w.asked = 0
	return asked
}

// arm makes the context of the next Next; it has ended already when something was asked or the watch was
// stopped meanwhile.
func (w *watch) arm(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancel = cancel
	if w.asked != 0 || w.stopped {
		cancel()
	}
	return ctx
}

func (w *watch) run() {
	st := w.stream
	defer st.group.Done()
	defer st.metrics.watches.Dec()
	defer w.source.Close()
	defer w.stop() // releases the last context
	defer func() {
		if w.retry != nil {
			w.retry.Stop()
		}
	}()
	next := w.arm(st.ctx)
	for !w.over() {
		if asked := w.questions(); asked != 0 || w.owes {
			w.report(asked)
		}
		if next.Err() != nil {
			next = w.arm(st.ctx)
		}
		got, err := w.source.Next(next)
		switch {
		case err == nil:
			if w.send(got) != nil {
				return // the stream has ended
			}
		case next.Err() == nil || !errors.Is(err, next.Err()):
			w.fail(err)
			return
		}
	}
}

// over says whether the watch was canceled or its stream has ended.
func (w *watch) over() bool {
	if w.stream.ctx.Err() != nil {
		return true
	}
	w.stream.sendMu.Lock()
	defer w.stream.sendMu.Unlock()
	return w.ended
}

// fail ends the watch by itself: its history is gone, or the store can't be read any more.
func (w *watch) fail(err error) {
	st := w.stream
	r := &pb.WatchResponse{WatchId: w.id, Canceled: true}
	var compacted store.ErrCompactedAt
	if errors.As(err, &compacted) {
		r.CompactRevision = compacted.Revision
	} else {
		r.CancelReason = err.Error()
		st.cfg.Logger.Error("watch failed", "error", err)
	}
	if st.remove(w.id, w) == nil {
		return // canceled by the client at the same time, which confirms that
	}
	r.Header = st.cfg.Header(st.source.Revision())
	_ = st.send(r) // the stream has ended when this fails
}

// send sends what Next returned, whole or in fragments.
func (w *watch) send(got store.WatchEvents) error {
	if len(got.Events) == 0 {
		return nil
	}
	st := w.stream
	r := &pb.WatchResponse{Header: st.cfg.Header(got.Revision), WatchId: w.id, Events: got.Events}
	st.sendMu.Lock()
	defer st.sendMu.Unlock()
	if w.ended {
		return nil
	}
	w.busy.Store(true)
	if err := w.sendFragmentsLocked(r); err != nil {
		return err
	}
	st.lastSent = max(st.lastSent, got.Events[len(got.Events)-1].Kv.ModRevision)
	st.metrics.events.Add(float64(len(got.Events)))
	return nil
}

// sendFragmentsLocked splits a response that is larger than a request may be, if the client asked for that.
// Each part holds at least one event, and all but the last are marked.
func (w *watch) sendFragmentsLocked(r *pb.WatchResponse) error {
	st := w.stream
	limit := st.cfg.MaxResponseBytes
	if !w.fragment || len(r.Events) < 2 || proto.Size(r) < limit {
		return st.sendLocked(r)
	}
	rest := r.Events
	for len(rest) > 0 {
		n := fitting(rest, limit-fragmentOverheadBytes)
		part := &pb.WatchResponse{Header: r.Header, WatchId: r.WatchId, Events: rest[:n], Fragment: n < len(rest)}
		if err := st.sendLocked(part); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// fragmentOverheadBytes is more than the fields of a response beside its events can take.
const fragmentOverheadBytes = 128

// fitting is how many of the events fit into so many bytes, at least one.
func fitting(events []*mvccpb.Event, bytes int) int {
	size := 0
	for i, e := range events {
		n := proto.Size(e)
		size += n + 1 + varintSize(n)
		if size > bytes && i > 0 {
			return i
		}
	}
	return len(events)
}

func varintSize(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}
