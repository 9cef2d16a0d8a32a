package dc

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	"geogate/replication/event"
	"geogate/replication/homes"
)

// Commit says what became of a write in this DC.
type Commit struct {
	Revision int64       // origin revision; 0 when the write changed nothing
	Stamp    event.Stamp // of the transaction; 0 when nothing changed

	Keyspace string // prefix of the single-writer keyspace of [WithKeyspace]; empty for a multi-writer one, and for ""
	Epoch    uint64 // in which that keyspace's home made the write; 0 in a multi-writer keyspace

	Repeated bool   // a write with the same request id was applied before; this is what became of that one
	Origin   string // of a repeated one, where that was another DC; Revision and Stamp are of there
	Reduced  bool   // of a repeated one: the first response had keys, values or responses that this one lacks
}

// result is what apply answers a waiting proposal.
type result struct {
	response proto.Message
	commit   Commit
	err      error
	reply    *homes.Reply // of a command to a register
}

// pending is one proposal from the moment it is queued until it is answered.
type pending struct {
	item item
	done chan result // capacity 1: whoever answers never blocks

	abandoned bool // guarded by queue.mu: the caller left before it was taken
}

// flight is an entry that was handed to consensus and is not applied yet.
type flight struct {
	term  uint64
	items []*pending
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

	mu       sync.Mutex
	open     bool // guarded by mu, as all below: this node leads
	failWith error
	writes   []*pending
	others   []*pending // frames and bookkeeping, proposed after the writes of the same entry
	// passedOver: the last entry was full of writes; the next one is for the others, so neither starves.
	passedOver bool
	bytes      int
	next       uint64 // sequence number of the next item to be taken
	flights    map[uint64]*flight
	last       uint64 // first sequence number of the entry taken last
}

// cost is at least what the item takes in an entry.
func (it *item) cost() int { return len(it.payload) + len(it.note) + len(it.keyspace) + itemOverhead }

func newQueue(proposer uint64, clock *event.Clock, maxBytes, maxItem int) *queue {
	return &queue{
		proposer: proposer, clock: clock, maxBytes: maxBytes, maxItem: maxItem,
		waiting: make(chan struct{}, 1), failWith: ErrNotLeader, next: 1, flights: map[uint64]*flight{},
	}
}

// add queues a proposal. The error means that it was not proposed and never will be.
func (q *queue) add(it item) (*pending, error) {
	if len(it.payload) > q.maxItem {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(it.payload), q.maxItem)
	}
	p := &pending{item: it, done: make(chan result, 1)}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open {
		return nil, q.failWith
	}
	if q.bytes+len(it.payload) > q.maxBytes && q.bytes > 0 {
		return nil, ErrBusy
	}
	q.bytes += it.cost()
	switch it.kind {
	case kindFrame, kindConfirm, kindMerge, kindAdopt, kindRepair, kindHome:
		q.others = append(q.others, p)
	case kindInit:
		q.writes = append([]*pending{p}, q.writes...) // the incarnation goes before any write
	default:
		q.writes = append(q.writes, p)
	}
	q.wake()
	return p, nil
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
// when ctx, or its patience, ends first.
func (q *queue) wait(ctx context.Context, p *pending) result {
	over, stop := late(ctx)
	defer stop()
	cause := context.DeadlineExceeded
	select {
	case r := <-p.done:
		return r
	case <-over:
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case r := <-p.done: // answered while we took the lock
		return r
	default:
	}
	p.abandoned = true
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
	f := &flight{term: term}
	size := 0
	pull := func(from []*pending) []*pending {
		for len(from) > 0 {
			p := from[0]
			cost := p.item.cost()
			if size > 0 && size+cost > limit {
				break
			}
			from[0] = nil
			from = from[1:]
			q.bytes -= cost
			if p.abandoned {
				continue
			}
			size += cost
			e.items = append(e.items, p.item)
			f.items = append(f.items, p)
		}
		return from
	}
	writes := 0
	if !q.passedOver {
		q.writes = pull(q.writes)
		writes = len(e.items)
	}
	if q.passedOver = len(q.others) > 0 && size >= limit; !q.passedOver {
		q.others = pull(q.others)
	}
	if len(q.writes)+len(q.others) > 0 {
		q.wake()
	}
	q.room.fire()
	if len(e.items) == 0 {
		return nil
	}
	e.stamp = q.clock.Next(max(writes, 1))
	q.next += uint64(len(e.items))
	q.last = e.first
	q.flights[e.first] = f
	return e.marshal(size)
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
		p.done <- result{err: failWith}
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

func (f *flight) answer(r result) {
	for _, p := range f.items {
		p.done <- r
	}
}
