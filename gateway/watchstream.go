package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
)

const (
	noWatchID = -1 // of answers that belong to no watch, or to all

	// Reasons that etcd gives; clients show them.
	reasonDuplicateID = "mvcc: duplicate watch ID provided on the WatchStream"
	reasonEmptyRange  = "mvcc: watcher range is empty"
)

// watchServer is etcd's Watch service.
type watchServer struct {
	pb.UnsafeWatchServer
	*Server
}

// watchStream is one client's stream with its watches.
type watchStream struct {
	*Server
	stream pb.Watch_WatchServer
	ctx    context.Context // ends with the stream
	end    context.CancelCauseFunc
	group  sync.WaitGroup // everything that sends

	sendMu   sync.Mutex
	lastSent int64 // highest revision of an event sent. guarded by sendMu

	mu       sync.Mutex
	watches  map[int64]*watch // guarded by mu, as all below
	nextID   int64
	progress *progressRound // the one under way, if any
	notifier bool           // the goroutine of periodic progress runs
}

// Watch serves a stream until the client leaves, the gateway stops, or the leader is lost and the client
// requires one. Whoever receives can't be interrupted, so it has a goroutine that ends just after Watch.
func (w watchServer) Watch(stream pb.Watch_WatchServer) error {
	var lost <-chan struct{}
	if requiresLeader(stream.Context()) {
		lost = w.leaders.lostSignal()
		if !w.leaders.known() {
			return rpctypes.ErrGRPCNoLeader
		}
	}
	if err := w.catchUp(stream.Context()); err != nil {
		return statusOf(err)
	}
	ctx, end := context.WithCancelCause(stream.Context())
	ws := &watchStream{Server: w.Server, stream: stream, ctx: ctx, end: end, watches: map[int64]*watch{}}
	w.metrics.watchStreams.Inc()
	defer w.metrics.watchStreams.Dec()

	received := make(chan struct{})
	w.receivers.Go(func() {
		defer close(received)
		if err := ws.receive(); err != nil {
			end(err)
		}
	})
	select {
	case <-ctx.Done():
	case <-lost:
		end(rpctypes.ErrGRPCNoLeader)
	case <-w.stopping:
		end(rpctypes.ErrGRPCStopped)
	}
	ws.close()
	err := context.Cause(ctx)
	if errors.Is(err, context.Canceled) {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return statusOf(err)
}

// close returns when nothing will be sent any more.
func (ws *watchStream) close() {
	ws.mu.Lock()
	for _, w := range ws.watches {
		w.stop()
	}
	ws.watches = nil // no watch can be created any more
	ws.mu.Unlock()
	ws.group.Wait()
}

// receive handles requests one after the other. A client that only stops sending keeps its watches.
func (ws *watchStream) receive() error {
	for {
		req, err := ws.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if ws.ctx.Err() != nil {
			return nil
		}
		switch r := req.RequestUnion.(type) {
		case *pb.WatchRequest_CreateRequest:
			err = ws.create(r.CreateRequest)
		case *pb.WatchRequest_CancelRequest:
			err = ws.cancel(r.CancelRequest.GetWatchId())
		case *pb.WatchRequest_ProgressRequest:
			ws.requestProgress()
		}
		if err != nil {
			return err
		}
	}
}

// send sends one response of the whole stream.
func (ws *watchStream) send(r *pb.WatchResponse) error {
	ws.sendMu.Lock()
	defer ws.sendMu.Unlock()
	return ws.sendLocked(r)
}

func (ws *watchStream) sendLocked(r *pb.WatchResponse) error {
	if err := ws.ctx.Err(); err != nil {
		return err
	}
	err := ws.stream.Send(r)
	if err != nil {
		ws.end(err)
	}
	return err
}

// create opens a watch, confirms it, and lets it run: the confirmation precedes all its events.
func (ws *watchStream) create(r *pb.WatchCreateRequest) error {
	if r == nil {
		return nil
	}
	// The header's revision is where the client resumes after a lost connection, so a watch that starts
	// "now" starts exactly behind it.
	revision := ws.dc.Revision()
	o := store.WatchOptions{Key: r.Key, End: r.RangeEnd, Start: r.StartRevision, PrevKV: r.PrevKv}
	if o.Start == 0 {
		o.Start = revision + 1
	}
	if len(o.Key) == 0 {
		o.Key = []byte{0} // the smallest key
	}
	if len(o.End) == 0 {
		o.End = nil
	}
	for _, f := range r.Filters {
		o.NoPut = o.NoPut || f == pb.WatchCreateRequest_NOPUT
		o.NoDelete = o.NoDelete || f == pb.WatchCreateRequest_NODELETE
	}
	if reason := ws.refusal(r, o); reason != "" {
		return ws.refuse(revision, reason)
	}
	w, ok := ws.add(r)
	switch {
	case w == nil && ok:
		return nil // the stream has ended
	case !ok:
		return ws.refuse(revision, reasonDuplicateID)
	}
	if err := ws.send(&pb.WatchResponse{Header: ws.header(revision), WatchId: w.id, Created: true}); err != nil {
		ws.group.Done()
		return err
	}
	w.source = ws.dc.Watch(o)
	ws.metrics.watches.Inc()
	go w.run()
	return nil
}

// refusal is why a watch can't be created; empty when it can.
func (ws *watchStream) refusal(r *pb.WatchCreateRequest, o store.WatchOptions) string {
	if r.StartRevision < 0 {
		return rpctypes.ErrCompacted.Error()
	}
	if err := ws.authorize(ws.ctx, ActionRead, o.Key, o.End); err != nil {
		return statusOf(err).Error() // clients look for the code in it
	}
	fromKey := len(o.End) == 1 && o.End[0] == 0
	if len(o.End) > 0 && !fromKey && bytes.Compare(o.Key, o.End) >= 0 {
		return reasonEmptyRange
	}
	return ""
}

func (ws *watchStream) refuse(revision int64, reason string) error {
	return ws.send(&pb.WatchResponse{
		Header: ws.header(revision), WatchId: noWatchID, Created: true, Canceled: true, CancelReason: reason,
	})
}

// add enters a watch under the client's id, or a free one when that is 0. ok is false when the id is taken.
func (ws *watchStream) add(r *pb.WatchCreateRequest) (w *watch, ok bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.watches == nil {
		return nil, true
	}
	id := r.WatchId
	if id == 0 {
		for ws.watches[ws.nextID] != nil {
			ws.nextID++
		}
		id = ws.nextID
		ws.nextID++
	} else if ws.watches[id] != nil {
		return nil, false
	}
	w = &watch{stream: ws, id: id, fragment: r.Fragment, notify: r.ProgressNotify}
	ws.watches[id] = w
	ws.group.Add(1)
	if w.notify && !ws.notifier {
		ws.notifier = true
		ws.group.Go(ws.notifyPeriodically)
	}
	return w, true
}

// cancel ends a watch and confirms it; nothing of it is sent behind the confirmation. Unknown ids are
// ignored, as in etcd.
func (ws *watchStream) cancel(id int64) error {
	w := ws.remove(id, nil)
	if w == nil {
		return nil
	}
	ws.sendMu.Lock()
	defer ws.sendMu.Unlock()
	w.ended = true
	w.stop()
	return ws.sendLocked(&pb.WatchResponse{Header: ws.header(ws.dc.Revision()), WatchId: id, Canceled: true})
}

// remove takes a watch out; when only is given, only if it is that one. It returns nil when there is none.
func (ws *watchStream) remove(id int64, only *watch) *watch {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.watches[id]
	if w == nil || only != nil && w != only {
		return nil
	}
	delete(ws.watches, id)
	ws.dropFromRoundLocked(w)
	return w
}

// notifyPeriodically asks the watches that want it for progress, unless they sent an event since the last
// time. The period is spread, so that the watches of many clients do not all report at once.
func (ws *watchStream) notifyPeriodically() {
	period := ws.cfg.ProgressInterval
	period += time.Duration(rand.Int64N(int64(period)/10 + 1))
	t := time.NewTicker(period)
	defer t.Stop()
	for {
		select {
		case <-ws.ctx.Done():
			return
		case <-t.C:
		}
		ws.mu.Lock()
		for _, w := range ws.watches {
			if w.notify && !w.busy.Swap(false) {
				w.ask(askPeriodic)
			}
		}
		ws.mu.Unlock()
	}
}
