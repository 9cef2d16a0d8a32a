package progress

import (
	"container/heap"
	"context"
	"slices"
	"sync"

	"geogate/replication/policy"
)

// Tracker holds what the peers have confirmed.
type Tracker struct {
	local string

	mu      sync.Mutex
	peers   []row // guarded by mu, as all below; sorted by name
	waiting [policy.All + 1]queue
	closed  error
	changed chan struct{} // closed and replaced when a peer advances
	scratch []int64
}

type row struct {
	name  string
	acked int64
	known bool
}

// New tracks peers on behalf of the local DC. Nothing is known of them yet.
func New(local string, peers []string) *Tracker {
	t := &Tracker{local: local, changed: make(chan struct{})}
	for _, name := range slices.Sorted(slices.Values(peers)) {
		t.peers = append(t.peers, row{name: name})
	}
	t.scratch = make([]int64, len(t.peers))
	return t
}

// Ack takes note that a peer has everything up to revision. It says whether that was news; a peer never
// moves back.
func (t *Tracker) Ack(peer string, revision int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rowLocked(peer)
	if r == nil || (r.known && revision <= r.acked) {
		return false
	}
	r.acked, r.known = revision, true
	t.advancedLocked()
	return true
}

// Forget drops what is known of a peer, whose data has begun a new life.
func (t *Tracker) Forget(peer string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.rowLocked(peer); r != nil {
		r.acked, r.known = 0, false
	}
}

// Acked is what a peer has confirmed, if it is known.
func (t *Tracker) Acked(peer string) (revision int64, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.rowLocked(peer); r != nil {
		return r.acked, r.known
	}
	return 0, false
}

// Changed is closed when a peer advances next; take it before reading.
func (t *Tracker) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// Waiting is the number of waits.
func (t *Tracker) Waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for i := range t.waiting {
		n += len(t.waiting[i])
	}
	return n
}

// Settle asks each wait that was given a judge whether it is settled, and fails it with what the judge says.
func (t *Tracker) Settle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.waiting {
		settled := map[*wait]error{}
		for _, w := range t.waiting[p] {
			if w.judge == nil {
				continue
			}
			if err := w.judge(); err != nil {
				settled[w] = err
			}
		}
		for w, err := range settled {
			heap.Remove(&t.waiting[p], w.index)
			w.err, w.ackedBy = err, t.ackedByLocked(w.revision)
			w.release()
		}
	}
}

// Close fails all waits, now and later, with err.
func (t *Tracker) Close(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = err
	for p := range t.waiting {
		for _, w := range t.waiting[p] {
			w.err, w.ackedBy = err, t.ackedByLocked(w.revision)
			w.index = -1
			w.release()
		}
		t.waiting[p] = nil
	}
}

// Wait returns when p is met for a revision that is committed locally, or with the error of Close or of
// ctx. In each case it says which DCs are known to have the revision: the local one, then peers by name.
func (t *Tracker) Wait(ctx context.Context, revision int64, p policy.Policy) ([]string, error) {
	return t.WaitUnless(ctx, revision, p, nil)
}

// WaitUnless is Wait for a write that may turn out not to count: the wait fails with the judge's error as soon as
// that says one, at once or at the next [Tracker.Settle]. The judge is called with the tracker locked: it must not
// call it. nil is none.
func (t *Tracker) WaitUnless(ctx context.Context, revision int64, p policy.Policy, judge func() error) ([]string, error) {
	t.mu.Lock()
	if judge != nil {
		if err := judge(); err != nil {
			defer t.mu.Unlock()
			return t.ackedByLocked(revision), err
		}
	}
	if met := t.metLocked(p) >= revision; met || t.closed != nil {
		defer t.mu.Unlock()
		if met {
			return t.ackedByLocked(revision), nil
		}
		return t.ackedByLocked(revision), t.closed
	}
	w := &wait{revision: revision, judge: judge, done: make(chan struct{})}
	heap.Push(&t.waiting[p], w)
	t.mu.Unlock()

	select {
	case <-w.done:
		return w.ackedBy, w.err
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.index < 0 { // released in the meantime
		return w.ackedBy, w.err
	}
	heap.Remove(&t.waiting[p], w.index)
	return t.ackedByLocked(revision), ctx.Err()
}

func (t *Tracker) advancedLocked() {
	close(t.changed)
	t.changed = make(chan struct{})
	for p := range t.waiting {
		q := &t.waiting[p]
		if len(*q) == 0 {
			continue
		}
		for met := t.metLocked(policy.Policy(p)); len(*q) > 0 && (*q)[0].revision <= met; {
			w := heap.Pop(q).(*wait)
			w.ackedBy = t.ackedByLocked(w.revision)
			w.release()
		}
	}
}

func (t *Tracker) metLocked(p policy.Policy) int64 {
	const committed = 1<<63 - 1 // the caller vouches that what it waits for is committed here
	for i := range t.peers {
		t.scratch[i] = t.peers[i].acked
	}
	return p.MetRevision(committed, t.scratch)
}

func (t *Tracker) ackedByLocked(revision int64) []string {
	names := append(make([]string, 0, 1+len(t.peers)), t.local)
	for i := range t.peers {
		if t.peers[i].known && t.peers[i].acked >= revision {
			names = append(names, t.peers[i].name)
		}
	}
	return names
}

func (t *Tracker) rowLocked(peer string) *row {
	for i := range t.peers {
		if t.peers[i].name == peer {
			return &t.peers[i]
		}
	}
	return nil
}
