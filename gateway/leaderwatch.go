package gateway

import (
	"context"
	"sync"
	"time"
)

// leaderWatch knows whether this datacenter has a leader, and tells those who must not go on without one.
// A short election does not count as a loss.
type leaderWatch struct {
	leadership Leadership
	patience   time.Duration
	report     func(known bool) // called by run only

	mu   sync.Mutex
	gone chan struct{} // closed while the leader is lost. guarded by mu
	lost bool          // guarded by mu
}

func newLeaderWatch(l Leadership, patience time.Duration, report func(bool)) *leaderWatch {
	return &leaderWatch{leadership: l, patience: patience, report: report, gone: make(chan struct{})}
}

// known says whether a leader is known at this moment.
func (w *leaderWatch) known() bool { return w.leadership.Leader() != 0 }

// lostSignal is closed once there was no leader for longer than the patience.
func (w *leaderWatch) lostSignal() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gone
}

// await returns when a leader is known, with the signal of its loss. An absence that counts as a loss fails with
// ErrNoLeader; until then it waits.
func (w *leaderWatch) await(ctx context.Context) (lost <-chan struct{}, err error) {
	for {
		lost = w.lostSignal() // before the look: a loss after it is seen
		changed := w.leadership.LeadershipChanged()
		if w.known() {
			return lost, nil
		}
		select {
		case <-changed:
		case <-lost:
			return nil, ErrNoLeader
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (w *leaderWatch) run(ctx context.Context) {
	t := time.NewTimer(w.patience)
	defer t.Stop()
	was := false // known when last looked
	for {
		changed := w.leadership.LeadershipChanged()
		known := w.known()
		switch {
		case known && !was:
			w.set(false)
			w.report(true)
		case !known && was:
			t.Reset(w.patience)
		}
		was = known
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-t.C:
			if !w.known() {
				w.set(true)
				w.report(false)
			}
		}
	}
}

func (w *leaderWatch) set(lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost == lost {
		return
	}
	w.lost = lost
	if lost {
		close(w.gone)
	} else {
		w.gone = make(chan struct{})
	}
}
