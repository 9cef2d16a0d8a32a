package dc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"geogate/replication/event"
)

// flight is an entry that was handed to consensus and is not applied yet.
type flight struct {
	term  uint64
	items []*pending
}

func (f *flight) answer(r result) {
	for _, p := range f.items {
		p.answer(r)
	}
}

// queue collects proposals until consensus takes them: all that wait become one entry. The fsync of the
// entry before is the time in which the next one fills; there is no timer.
type queue struct {
	proposer uint64
	clock    *event.Clock
	maxBytes int  // of payloads waiting; more are refused with ErrBusy
	maxItem  int  // of one payload
	alone    bool // the datacenter has no peers

	waiting chan struct{} // capacity 1
	room    signal        // fires when an entry was taken or the queue closed
	idle    sync.Pool     // of *pending that were answered

	mu       sync.Mutex
	open     bool // guarded by mu, as all below: this node leads
	failWith error
	writes   []*pending
	others   []*pending // frames and bookkeeping, proposed after the writes of the same entry
	// passedOver: the last entry was full of writes; the next one is for the others, so neither starves.
	passedOver bool
	bytes      int
	next       uint64 // sequence number of the next item to be taken
	flights    map[uint64]flight
	last       uint64 // first sequence number of the entry taken last
}

// cost is at least what the item takes in an entry.
func (it *item) cost() int { return len(it.payload) + len(it.note) + len(it.keyspace) + itemOverhead }

func newQueue(proposer uint64, clock *event.Clock, maxBytes, maxItem int) *queue {
	return &queue{
		proposer: proposer, clock: clock, maxBytes: maxBytes, maxItem: maxItem,
		waiting: make(chan struct{}, 1), failWith: ErrNotLeader, next: 1, flights: map[uint64]flight{},
	}
}

// add queues a proposal. The error means that it was not proposed and never will be.
func (q *queue) add(it item) (*pending, error) {
	p := q.pending()
	p.item = it
	return q.submit(p)
}

// submit is add of a proposal in the queue's own memory; on an error it is no longer the caller's.
func (q *queue) submit(p *pending) (*pending, error) {
	err := q.enter(p)
	if err != nil {
		q.recycle(p)
		return nil, err
	}
	return p, nil
}

func (q *queue) enter(p *pending) error {
	it := &p.item
	if len(it.payload) > q.maxItem {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(it.payload), q.maxItem)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open {
		return q.failWith
	}
	if q.bytes+len(it.payload) > q.maxBytes && q.bytes > 0 {
		return ErrBusy
	}
	q.bytes += it.cost()
	switch it.kind {
	case kindFrame, kindConfirm, kindMerge, kindAdopt, kindRepair, kindHome:
		q.others = append(q.others, p)
	case kindInit:
		q.writes = slices.Insert(q.writes, 0, p) // the incarnation goes before any write
	default:
		q.writes = append(q.writes, p)
	}
	q.wake()
	return nil
}

// addPatiently is add, waiting for room instead of returning ErrBusy.
func (q *queue) addPatiently(ctx context.Context, it item) (*pending, error) {
	for {
		room := q.room.wait()
		p, err := q.add(it)
		if !errors.Is(err, ErrBusy) {
			return p, err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
		}
	}
}

// wait returns the proposal's result, or ErrUnknownOutcome (or ErrNotLeader's kind, if it was still queued)
// when ctx, or its patience, ends first. The proposal is no longer the caller's then.
func (q *queue) wait(ctx context.Context, p *pending) result {
	over := p.late(ctx)
	cause := context.DeadlineExceeded
	select {
	case r := <-p.done:
		q.recycle(p)
		return r
	case <-over:
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	p.stopTimer()
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case r := <-p.done: // answered while we took the lock
		return r
	default:
	}
	p.abandon()
	return result{err: fmt.Errorf("%w: %w", ErrUnknownOutcome, cause)}
}

func (q *queue) wake() {
	select {
	case q.waiting <- struct{}{}:
	default:
	}
}

// take packs what waits into one entry of about limit bytes, at least one item; nil when nothing waits.
func (q *queue) take(term uint64, limit int) []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open {
		return nil
	}
	e := entry{proposer: q.proposer, first: q.next, alone: q.alone}
	pack := packing{limit: limit, items: make([]*pending, 0, min(len(q.writes)+len(q.others), maxScratch))}
	writes := 0
	if !q.passedOver {
		q.writes = q.pull(q.writes, &pack)
		writes = len(pack.items)
	}
	if q.passedOver = len(q.others) > 0 && pack.size >= limit; !q.passedOver {
		q.others = q.pull(q.others, &pack)
	}
	if len(q.writes)+len(q.others) > 0 {
		q.wake()
	}
	q.room.fire()
	if len(pack.items) == 0 {
		return nil
	}
	e.stamp = q.clock.Next(max(writes, 1))
	q.next += uint64(len(pack.items))
	q.last = e.first
	q.flights[e.first] = flight{term: term, items: pack.items}
	b := e.appendHead(make([]byte, 0, pack.size+entryHeadBytes))
	for _, p := range pack.items {
		b = p.item.append(b)
	}
	return b
}

// packing is an entry that is being filled.
type packing struct {
	items       []*pending
	size, limit int // bytes
}

// pull moves what fits, at least one proposal, and returns what still waits.
func (q *queue) pull(from []*pending, into *packing) []*pending {
	n := 0
	for ; n < len(from); n++ {
		p := from[n]
		cost := p.item.cost()
		if into.size > 0 && into.size+cost > into.limit {
			break
		}
		q.bytes -= cost
		if p.abandoned.Load() {
			continue
		}
		into.size += cost
		into.items = append(into.items, p)
	}
	return without(from, n)
}

// without is what comes behind the first n proposals, in the same memory from its beginning on where that moves
// few of them.
func without(from []*pending, n int) []*pending {
	if rest := len(from) - n; rest <= n && cap(from) <= maxScratch {
		copy(from, from[n:])
		clear(from[rest:])
		return from[:rest]
	}
	clear(from[:n])
	return from[n:]
}

// dropped answers the entry taken last: consensus refused it, so it certainly was not proposed.
func (q *queue) dropped(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f, ok := q.flights[q.last]; ok {
		delete(q.flights, q.last)
		f.answer(result{err: fmt.Errorf("%w: %w", ErrNotLeader, err)})
	}
}

// applied hands back the proposals of an entry of this proposer, or nil.
func (q *queue) applied(first uint64) []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	f, ok := q.flights[first]
	if !ok {
		return nil
	}
	delete(q.flights, first)
	return f.items
}

// supersede answers entries of terms before `term` that are still unapplied: terms only grow along the
// log, so once an entry of a later term is applied, no older one can follow.
func (q *queue) supersede(term uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for first, f := range q.flights {
		if f.term < term {
			delete(q.flights, first)
			f.answer(result{err: ErrSuperseded})
		}
	}
}

// setLeading opens or closes the queue. Closing answers what was not taken yet; what was taken stays in
// flight until its fate is known.
func (q *queue) setLeading(leading bool, failWith error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open, q.failWith = leading, failWith
	if leading {
		return
	}
	for _, p := range append(q.writes, q.others...) {
		p.answer(result{err: failWith})
	}
	q.writes, q.others, q.bytes = nil, nil, 0
	q.room.fire()
}

// abort answers everything, at the end of the DC's life.
func (q *queue) abort() {
	q.setLeading(false, ErrStopped)
	q.mu.Lock()
	defer q.mu.Unlock()
	for first, f := range q.flights {
		delete(q.flights, first)
		f.answer(result{err: fmt.Errorf("%w: %w", ErrUnknownOutcome, ErrStopped)})
	}
}
