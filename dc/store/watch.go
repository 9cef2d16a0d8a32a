package store

import (
	"context"
	"math"
	"slices"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// WatchOptions say what to watch.
type WatchOptions struct {
	Key, End []byte // as in [RangeOptions]
	Start    int64  // first revision wanted; 0: the next one; one in the future waits for it
	PrevKV   bool   // events carry the version before, unless the key was created or that is compacted
	NoPut    bool
	NoDelete bool
}

// WatchEvents are all events of one or more whole revisions, ascending. They are shared and must not be
// changed.
type WatchEvents struct {
	Events   []*mvccpb.Event
	Revision int64 // the events are complete up to here
}

// Watcher delivers the changes of a range: each one once, in order, and those of one revision together.
//
// A synced watcher is fed by each Commit through a bounded queue. One that starts in the past, or whose
// queue overflowed, reads history in bounded steps, in its own goroutine's time, and then joins the synced
// ones under the lock. One goroutine calls Next; the rest may be called from any.
type Watcher struct {
	s    *Store
	o    WatchOptions
	span span

	staged []*mvccpb.Event // guarded by hub.mu: of the revision being committed

	wake chan struct{} // capacity 1: there is something for Next
	done chan struct{} // closed by Close

	mu        sync.Mutex
	queue     []queued // guarded by mu, as all below
	events    int      // in the queue
	bytes     int64    // in the queue
	synced    bool
	from      int64 // revisions below are delivered or queued, or were never wanted
	taken     bool  // Next has taken events and not returned yet
	delivered int64 // complete up to here is what Next returned
	closed    bool
}

// queued is the events of one revision.
type queued struct {
	revision int64
	events   []*mvccpb.Event
}

// Watch starts a watch. That its start is compacted is found out by Next.
func (s *Store) Watch(o WatchOptions) *Watcher {
	o.Key, o.End = slices.Clone(o.Key), slices.Clone(o.End)
	w := &Watcher{
		s: s, o: o, span: newSpan(o.Key, o.End), from: o.Start,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if o.Start == 0 {
		w.from = s.revision + 1
	}
	w.delivered = min(w.from-1, s.revision)
	s.hub.open(w)
	if s.closed {
		w.Close()
		return w
	}
	w.joinLocked()
	return w
}

// joinLocked makes the watcher synced if it has no history left to read. The caller holds the store's lock.
func (w *Watcher) joinLocked() bool {
	if w.from <= w.s.revision {
		return false
	}
	h := &w.s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed && !w.synced {
		w.synced = true
		h.addLocked(w)
	}
	return true
}

// wants says whether a synced watcher takes an event. A start in the future is still to come.
func (w *Watcher) wants(revision int64, deleted bool) bool {
	if deleted && w.o.NoDelete || !deleted && w.o.NoPut {
		return false
	}
	return revision >= w.o.Start
}

// push queues the events of a revision. When they don't fit the watcher is no longer synced, and will read
// from this revision on.
func (w *Watcher) push(revision int64, events []*mvccpb.Event) bool {
	size := eventBytes(events)
	w.mu.Lock()
	defer w.mu.Unlock()
	fits := w.events+len(events) <= w.s.cfg.WatchBufferEvents && w.bytes+size <= w.s.cfg.WatchBufferBytes
	if fits {
		w.queue = append(w.queue, queued{revision: revision, events: events})
		w.events += len(events)
		w.bytes += size
		w.from = revision + 1
	} else {
		w.synced = false
		w.from = revision
	}
	w.signal()
	return fits
}

func eventBytes(events []*mvccpb.Event) int64 {
	n := 0
	for _, e := range events {
		n += len(e.Kv.Key) + len(e.Kv.Value)
	}
	return int64(n)
}

func (w *Watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// desync makes the watcher read history again and says whether it was synced. What is queued stays.
func (w *Watcher) desync() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.synced
	w.synced = false
	w.signal()
	return was
}

// Close ends the watch; Next fails with [ErrClosed].
func (w *Watcher) Close() {
	h := &w.s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.closed = true
	delete(h.all, w)
	if w.synced {
		h.removeLocked(w)
	}
	w.synced, w.queue = false, nil
	close(w.done)
}

// Progress is the revision up to which Next has returned everything, and whether that is the store's
// current one. What Next is about to return counts as not delivered.
func (w *Watcher) Progress() (revision int64, synced bool) {
	w.s.mu.RLock()
	defer w.s.mu.RUnlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.synced && len(w.queue) == 0 && !w.taken {
		return w.s.revision, true
	}
	return w.delivered, false
}

// Next waits for events. It fails with [ErrCompactedAt] when the history that the watch needs is gone.
func (w *Watcher) Next(ctx context.Context) (WatchEvents, error) {
	for {
		out, synced, err := w.take()
		if err != nil {
			return WatchEvents{}, err
		}
		if len(out.Events) == 0 && !synced {
			out, err = w.readHistory(ctx)
			if err != nil {
				return WatchEvents{}, err
			}
		}
		if len(out.Events) > 0 {
			return w.complete(out)
		}
		if !synced {
			continue // there may be more history, or the watcher has joined
		}
		select {
		case <-ctx.Done():
			return WatchEvents{}, ctx.Err()
		case <-w.done:
		case <-w.wake:
		}
	}
}

// take empties the queue.
func (w *Watcher) take() (out WatchEvents, synced bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return out, false, ErrClosed
	}
	if len(w.queue) == 0 {
		return out, w.synced, nil
	}
	w.taken = true
	out.Revision = w.queue[len(w.queue)-1].revision
	if len(w.queue) == 1 {
		out.Events = w.queue[0].events
	} else {
		out.Events = make([]*mvccpb.Event, 0, w.events)
		for _, q := range w.queue {
			out.Events = append(out.Events, q.events...)
		}
	}
	w.queue, w.events, w.bytes = nil, 0, 0
	return out, w.synced, nil
}

// complete adds the versions before, if they are asked for, and notes what is delivered.
func (w *Watcher) complete(out WatchEvents) (WatchEvents, error) {
	if w.o.PrevKV {
		var err error
		if out.Events, err = w.s.withPrevious(out.Events); err != nil {
			return WatchEvents{}, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken = false
	w.delivered = max(w.delivered, out.Revision)
	return out, nil
}

// withPrevious copies the events and adds to each the version that was visible just before it, as etcd
// does: none for a created key, and none when that revision is compacted.
func (s *Store) withPrevious(events []*mvccpb.Event) ([]*mvccpb.Event, error) {
	out := make([]*mvccpb.Event, len(events))
	for start := 0; start < len(events); start += historyRecords {
		part := events[start:min(start+historyRecords, len(events))]
		reads := make([]pointRead, len(part))
		for i, e := range part {
			reads[i] = pointRead{key: e.Kv.Key, at: e.Kv.ModRevision - 1}
			if e.Type == mvccpb.Event_PUT && e.Kv.Version == 1 {
				reads[i].at = math.MinInt64
			}
		}
		versions, err := s.versionsAt(reads)
		if err != nil {
			return nil, err
		}
		for i, e := range part {
			c := &mvccpb.Event{Type: e.Type, Kv: e.Kv}
			if versions[i] != nil {
				c.PrevKv = versions[i].KeyValue()
			}
			out[start+i] = c
		}
	}
	return out, nil
}
