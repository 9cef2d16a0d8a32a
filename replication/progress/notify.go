package progress

import (
	"container/heap"

	"geogate/replication/policy"
)

// Receiver is told once how a wait has ended, with what [Tracker.Wait] returns. It is called with the tracker locked: it must neither
// block nor call it.
type Receiver interface {
	Confirmed(ackedBy []string, err error)
}

// Notify is [Tracker.Wait] for who does not wait: to is told, by Notify itself if there is nothing to wait for. After
// cancel, to may have been told or never is; what it returns is known of the revision then.
func (t *Tracker) Notify(revision int64, p policy.Policy, to Receiver) (cancel func() (ackedBy []string)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := func() []string {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.ackedByLocked(revision)
	}
	if t.metLocked(p) >= revision {
		to.Confirmed(t.ackedByLocked(revision), nil)
		return known
	}
	if t.closed != nil {
		to.Confirmed(t.ackedByLocked(revision), t.closed)
		return known
	}
	w := &wait{revision: revision, told: to}
	heap.Push(&t.waiting[p], w)
	return func() []string {
		t.mu.Lock()
		defer t.mu.Unlock()
		if w.index >= 0 {
			heap.Remove(&t.waiting[p], w.index)
		}
		return t.ackedByLocked(revision)
	}
}
