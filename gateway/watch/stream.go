package watch

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
	// NoID is the id of answers that belong to no watch, or to all.
	NoID = -1

	// Reasons that etcd gives; clients show them.
	reasonDuplicateID = "mvcc: duplicate watch ID provided on the WatchStream"
	reasonEmptyRange  = "mvcc: watcher range is empty"
)

// stream is one client's stream with its watches.
type stream struct {
	*Server
	rpc   pb.Watch_WatchServer
	ctx   context.Context // ends with the stream
	end   context.CancelCauseFunc
	group sync.WaitGroup // everything that sends

	sendMu   sync.Mutex
	lastSent int64 // highest revision of an event sent. guarded by sendMu

	mu       sync.Mutex
	watches  map[int64]*watch // guarded by mu, as all below
	nextID   int64
	progress *progressRound // the one under way, if any
	notifier bool           // the goroutine of periodic progress runs
}

// close returns when nothing will be sent any more.
func (st *stream) close() {
	st.mu.Lock()
	for _, w := range st.watches {
		w.stop()
	}
	st.watches = nil // no watch can be created any more
	st.mu.Unlock()
	st.group.Wait()
}

// receive handles requests one after the other. A client that only stops sending keeps its watches.
func (st *stream) receive() error {
	for {
		req, err := st.rpc.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if st.ctx.Err() != nil {
			return nil
		}
		switch r := req.RequestUnion.(type) {
		case *pb.WatchRequest_CreateRequest:
			err = st.create(r.CreateRequest)
		case *pb.WatchRequest_CancelRequest:
			err = st.cancel(r.CancelRequest.GetWatchId())
		case *pb.WatchRequest_ProgressRequest:
			st.requestProgress()
		}
		if err != nil {
			return err
		}
	}
}

// send sends one response of the whole stream.
func (st *stream) send(r *pb.WatchResponse) error {
	st.sendMu.Lock()
	defer st.sendMu.Unlock()
	return st.sendLocked(r)
}

func (st *stream) sendLocked(r *pb.WatchResponse) error {
	if err := st.ctx.Err(); err != nil {
		return err
	}
	err := st.rpc.Send(r)
	if err != nil {
		st.end(err)
	}
	return err
}

// create opens a watch, confirms it, and lets it run: the confirmation precedes all its events.
func (st *stream) create(r *pb.WatchCreateRequest) error {
	if r == nil {
		return nil
	}
	// The header's revision is where the client resumes after a lost connection, so a watch that starts
	// "now" starts exactly behind it.
	revision := st.source.Revision()
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
	if reason := st.refusal(r, o); reason != "" {
		return st.refuse(revision, reason)
	}
	w, ok := st.add(r)
	switch {
	case w == nil && ok:
		return nil // the stream has ended
	case !ok:
		return st.refuse(revision, reasonDuplicateID)
	}
	if err := st.send(&pb.WatchResponse{Header: st.cfg.Header(revision), WatchId: w.id, Created: true}); err != nil {
		st.group.Done()
		return err
	}
	w.source = st.source.Watch(o)
	st.metrics.watches.Inc()
	go w.run()
	return nil
}

// refusal is why a watch can't be created; empty when it can.
func (st *stream) refusal(r *pb.WatchCreateRequest, o store.WatchOptions) string {
	if r.StartRevision < 0 {
		return rpctypes.ErrCompacted.Error()
	}
	if err := st.cfg.Authorize(st.ctx, o.Key, o.End); err != nil {
		return st.cfg.Status(err).Error() // clients look for the code in it
	}
	fromKey := len(o.End) == 1 && o.End[0] == 0
	if len(o.End) > 0 && !fromKey && bytes.Compare(o.Key, o.End) >= 0 {
		return reasonEmptyRange
	}
	return ""
}

func (st *stream) refuse(revision int64, reason string) error {
	return st.send(&pb.WatchResponse{
		Header: st.cfg.Header(revision), WatchId: NoID, Created: true, Canceled: true, CancelReason: reason,
	})
}

// add enters a watch under the client's id, or a free one when that is 0. ok is false when the id is taken.
func (st *stream) add(r *pb.WatchCreateRequest) (w *watch, ok bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.watches == nil {
		return nil, true
	}
	id := r.WatchId
	if id == 0 {
		for st.watches[st.nextID] != nil {
			st.nextID++
		}
		id = st.nextID
		st.nextID++
	} else if st.watches[id] != nil {
		return nil, false
	}
	w = &watch{stream: st, id: id, fragment: r.Fragment, notify: r.ProgressNotify}
	st.watches[id] = w
	st.group.Add(1)
	if w.notify && !st.notifier {
		st.notifier = true
		st.group.Go(st.notifyPeriodically)
	}
	return w, true
}

// cancel ends a watch and confirms it; nothing of it is sent behind the confirmation. Unknown ids are
// ignored, as in etcd.
func (st *stream) cancel(id int64) error {
	w := st.remove(id, nil)
	if w == nil {
		return nil
	}
	st.sendMu.Lock()
	defer st.sendMu.Unlock()
	w.ended = true
	w.stop()
	return st.sendLocked(&pb.WatchResponse{Header: st.cfg.Header(st.source.Revision()), WatchId: id, Canceled: true})
}

// remove takes a watch out; when only is given, only if it is that one. It returns nil when there is none.
func (st *stream) remove(id int64, only *watch) *watch {
	st.mu.Lock()
	defer st.mu.Unlock()
	w := st.watches[id]
	if w == nil || only != nil && w != only {
		return nil
	}
	delete(st.watches, id)
	st.dropFromRoundLocked(w)
	return w
}

// notifyPeriodically asks the watches that want it for progress, unless they sent an event since the last
// time. The period is spread, so that the watches of many clients do not all report at once.
func (st *stream) notifyPeriodically() {
	period := st.cfg.ProgressInterval
	period += time.Duration(rand.Int64N(int64(period)/10 + 1))
	t := time.NewTicker(period)
	defer t.Stop()
	for {
		select {
		case <-st.ctx.Done():
			return
		case <-t.C:
		}
		st.mu.Lock()
		for _, w := range st.watches {
			if w.notify && !w.busy.Swap(false) {
				w.ask(askPeriodic)
			}
		}
		st.mu.Unlock()
	}
}
