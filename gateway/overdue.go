package gateway

import (
	"context"
	"sync"
	"time"
)

// overdueInterval is how late it may be noticed that a write has waited for too long.
const overdueInterval = 100 * time.Millisecond

// overdue ends the writes whose outcome is not there in time: one timer for all of them, while there are any.
type overdue struct {
	mu    sync.Mutex
	first *quickWrite // guarded by mu, as is waiting of each write in the list
	timer *time.Timer // guarded by mu; nil while the list is empty
}

// waiting is a write's place in the list.
type waiting struct {
	until      time.Time
	next, prev *quickWrite
	listed     bool
}

// add lists a write unless it is over already.
func (o *overdue) add(w *quickWrite, patience time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if w.over.Load() {
		return
	}
	w.until, w.next, w.listed = w.start.Add(patience), o.first, true
	if o.first != nil {
		o.first.prev = w
	}
	o.first = w
	if o.timer == nil {
		o.timer = time.AfterFunc(overdueInterval, o.sweep)
	}
}

// remove takes out a write that is over.
func (o *overdue) remove(w *quickWrite) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.removeLocked(w)
}

func (o *overdue) removeLocked(w *quickWrite) {
	if !w.listed {
		return
	}
	if w.prev == nil {
		o.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.waiting = waiting{}
}

func (o *overdue) sweep() {
	now := time.Now()
	var late []*quickWrite
	o.mu.Lock()
	for w := o.first; w != nil; {
		next := w.next
		if now.After(w.until) {
			late = append(late, w)
			o.removeLocked(w)
		}
		w = next
	}
	o.timer = nil
	if o.first != nil {
		o.timer = time.AfterFunc(overdueInterval, o.sweep)
	}
	o.mu.Unlock()
	for _, w := range late {
		(*w.quit.Load())(context.DeadlineExceeded)
	}
}
