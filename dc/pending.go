package dc

import (
	"context"
	"sync/atomic"
	"time"

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

// pending is one proposal from the moment it is queued until it is answered. One that was waited for serves again.
type pending struct {
	item item
	done chan result // capacity 1: whoever answers never blocks, and does nothing more with the proposal

	buf   []byte      // where its payload may be encoded; an entry has a copy
	timer *time.Timer // of its waiter's patience; nil until the first that has one

	told Outcome // takes the place of done, for who does not wait; such a proposal serves once

	abandoned atomic.Bool // the caller left; what is not taken yet need not be
}

func (p *pending) abandon() { p.abandoned.Store(true) }

// answer hands the result over. It never blocks.
func (p *pending) answer(r result) {
	if p.told != nil {
		p.told.Done(r.response, r.commit, r.err)
		return
	}
	p.done <- r
}

// maxKeptPayload is the largest payload whose memory is kept for the next proposal.
const maxKeptPayload = 4 << 10

// pending returns a proposal of nothing.
func (q *queue) pending() *pending {
	if p, ok := q.idle.Get().(*pending); ok {
		return p
	}
	return &pending{done: make(chan result, 1)}
}

// recycle takes back a proposal that is in no queue and flight: it was answered, and its answer was received, or it
// was never queued.
func (q *queue) recycle(p *pending) {
	p.stopTimer()
	p.item = item{}
	if cap(p.buf) > maxKeptPayload {
		p.buf = nil
	}
	q.idle.Put(p)
}

func (p *pending) stopTimer() {
	if p.timer != nil {
		p.timer.Stop() // and nothing that it has sent is received any more
	}
}

// late receives when the patience of a context is over; never where it has none.
func (p *pending) late(ctx context.Context) <-chan time.Time {
	patience, ok := patienceOf(ctx)
	if !ok {
		return nil
	}
	if p.timer == nil {
		p.timer = time.NewTimer(patience)
	} else {
		p.timer.Reset(patience)
	}
	return p.timer.C
}
