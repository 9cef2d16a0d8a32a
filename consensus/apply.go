package consensus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
)

// task is one thing for the apply goroutine; exactly one field of the first four is set.
type task struct {
	entries []raftpb.Entry
	conf    *confChange
	restore *snapshotFile
	leader  *leadership

	bytes int64
}

// confChange is a membership and the index that set it.
type confChange struct {
	index uint64
	conf  []byte
}

// leadership is who leads in a term, as far as this node knows.
type leadership struct{ term, leader uint64 }

// applyQueue passes tasks from the loop to the apply goroutine in order. Adding never blocks, because a loop
// that waits for apply loses its leadership. The bound is kept at the sources instead: while the queue is full
// a leader takes no proposals and a follower reads no entries.
type applyQueue struct {
	limit int64
	ready chan struct{} // capacity 1
	eased chan struct{} // capacity 1; receives when the queue is no longer full

	mu    sync.Mutex
	tasks []task
	bytes int64 // of tasks, including what is being applied
}

func newApplyQueue(limit int) *applyQueue {
	return &applyQueue{limit: int64(limit), ready: make(chan struct{}, 1), eased: make(chan struct{}, 1)}
}

func (q *applyQueue) add(t task) {
	q.mu.Lock()
	q.tasks = append(q.tasks, t)
	q.bytes += t.bytes
	q.mu.Unlock()
	signal(q.ready)
}

func (q *applyQueue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes >= q.limit
}

func (q *applyQueue) size() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

func (q *applyQueue) take() []task {
	q.mu.Lock()
	defer q.mu.Unlock()
	tasks := q.tasks
	q.tasks = nil
	return tasks
}

// applied is called after a task.
func (q *applyQueue) applied(t task) {
	q.mu.Lock()
	before := q.bytes
	q.bytes -= t.bytes
	eased := before >= q.limit && q.bytes < q.limit
	q.mu.Unlock()
	if eased {
		signal(q.eased)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// applier drives the state machine. All its fields are owned by the apply goroutine.
type applier struct {
	*Node
	last    leadership // told to the state machine last
	leading bool       // told last
	term    uint64     // of the entry applied last
}

// run applies tasks until ctx ends or the state machine fails.
func (a *applier) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.queue.ready:
		}
		for _, t := range a.queue.take() {
			if ctx.Err() != nil {
				return nil
			}
			if err := a.do(t); err != nil {
				return err
			}
			a.queue.applied(t)
		}
	}
}

func (a *applier) do(t task) error {
	switch {
	case t.entries != nil:
		return a.apply(t.entries)
	case t.conf != nil:
		a.cfg.StateMachine.SetConf(t.conf.index, t.conf.conf)
	case t.restore != nil:
		return a.restore(t.restore)
	case t.leader != nil:
		a.last, a.leading = *t.leader, false
		a.cfg.StateMachine.LeaderChanged(a.last.term, a.last.leader, false)
		a.lead()
	}
	return nil
}

func (a *applier) apply(entries []raftpb.Entry) error {
	batch := make([]Entry, len(entries))
	for i, e := range entries {
		batch[i] = Entry{Index: e.Index, Term: e.Term}
		if e.Type == raftpb.EntryNormal && len(e.Data) > 0 {
			batch[i].Data = e.Data
		}
	}
	start := time.Now()
	if err := a.cfg.StateMachine.Apply(batch); err != nil {
		return fmt.Errorf("apply entries %d to %d: %w", batch[0].Index, batch[len(batch)-1].Index, err)
	}
	a.metrics.applySeconds.Observe(time.Since(start).Seconds())
	a.metrics.applied.Add(float64(len(batch)))
	a.term = batch[len(batch)-1].Term
	a.applied.reach(batch[len(batch)-1].Index)
	a.lead()
	return nil
}

// lead tells that this node leads once an entry of its own term is applied. The loop takes the first proposal
// after that, so no proposal is ever applied before its proposer knows that it leads.
func (a *applier) lead() {
	if a.leading || a.last.leader != a.cfg.NodeID || a.term != a.last.term {
		return
	}
	a.leading = true
	a.cfg.StateMachine.LeaderChanged(a.last.term, a.last.leader, true)
	a.ledTerm.Store(a.last.term)
	signal(a.queue.eased)
}

func (a *applier) restore(file *snapshotFile) error {
	r, err := file.data()
	if err != nil {
		return fmt.Errorf("open received snapshot: %w", err)
	}
	defer r.Close()
	at := Applied{Index: file.index, Term: file.term, ConfState: file.raw}
	a.log.Info("restoring snapshot", "index", at.Index, "term", at.Term, "bytes", file.bytes)
	start := time.Now()
	a.cfg.StateMachine.SetConf(at.Index, file.raw)
	if err := a.cfg.StateMachine.Restore(at, r); err != nil {
		return fmt.Errorf("restore snapshot at index %d: %w", at.Index, err)
	}
	a.log.Info("restored snapshot", "index", at.Index, "took", time.Since(start))
	a.metrics.restored.Inc()
	a.term = at.Term
	a.applied.reach(at.Index)
	err = file.remove()
	a.transport.arrived.restored()
	return err
}

// stop tells the state machine that this node no longer leads, so that it can let go of those who wait.
func (a *applier) stop() {
	if a.leading {
		a.leading = false
		a.cfg.StateMachine.LeaderChanged(a.last.term, 0, false)
	}
}
