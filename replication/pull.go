package replication

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"geogate/replication/event"
	"geogate/replication/wire"
)

// pull is one pull from an origin's stream: messages are put together, verified and checked against the
// chain by one goroutine, and proposed without waiting; another awaits the proposals in order.
//
//	stream -> assembler -> MAC or signature -> decompress -> frame -> chain check -> propose -> applied
type pull struct {
	*receiver
	reply *wire.SyncReply
	at    event.Position // of the last frame proposed; what comes next must continue it
	from  *wire.Unpacker
	moved atomic.Bool // whether a proposed frame has been applied
	respite

	began     time.Time
	lastFrame atomic.Int64 // when the last data came, nanoseconds since began
	reached   atomic.Int64 // at.Revision, for the watchdog
	busy      atomic.Bool  // a frame is being verified and proposed
}

// proposal is a frame in flight to this DC's Raft group.
type proposal struct {
	last   int64
	bytes  int64
	result <-chan error
}

// pull runs until something ends it, and says what, and whether it applied anything. In any case, all its
// proposals have been answered or ApplyTimeout has passed.
func (r *receiver) pull(leading context.Context, k *link, reply *wire.SyncReply) (applied bool, err error) {
	p := &pull{receiver: r, reply: reply, at: r.cfg.Chain.Position(r.peer.Name), began: r.cfg.Clock()}
	p.respite.share = float64(r.cfg.CatchUpPercent) / 100
	p.from = wire.NewUnpacker(r.verifier, r.peer.Name, r.cfg.MaxFrameBytes, r.own())
	p.touch()
	p.reached.Store(p.at.Revision)

	ctx, cancel := context.WithCancelCause(leading)
	defer cancel(nil)
	stop := context.AfterFunc(k.lost, func() { cancel(context.Cause(k.lost)) })
	defer stop()

	q, err := openRequests(k, reply, p.touch)
	if err != nil {
		return false, err
	}
	defer q.close()

	inflight := make(chan proposal, 4096)
	room := semaphore.NewWeighted(int64(r.cfg.ProposeBytes))
	collected := make(chan struct{})
	go func() {
		defer close(collected)
		p.collect(inflight, room, cancel)
	}()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		p.watch(ctx, cancel)
	}()

	err = p.receive(ctx, q, inflight, room)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if leading.Err() != nil {
		err = leading.Err()
	}
	if errors.Is(err, errHeartbeat) {
		k.cancel(err) // it is given up: what waits for room to write on it must not hold up the end of the pull
	}
	cancel(err)
	close(inflight)
	<-collected
	<-watched
	return p.moved.Load(), err
}

// receive reads frames and proposes them.
func (p *pull) receive(ctx context.Context, q *requests, inflight chan<- proposal, room *semaphore.Weighted) error {
	assembler := &wire.Assembler{MaxBytes: p.cfg.MaxFrameBytes}
	for {
		if p.reply.Source == wire.Source_SOURCE_DIFFERENCE && p.at.Revision >= p.reply.Until {
			return errDifference
		}
		m, err := q.next(ctx)
		if err != nil {
			return err
		}
		p.touch()
		p.heard()
		whole, part, err := assembler.Add(m.Data)
		if err != nil && p.has(part) {
			continue // the rest of a frame that is here already
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errGap, err)
		}
		if whole == nil {
			continue
		}
		p.metrics.bytesReceived.WithLabelValues(p.peer.Name).Add(float64(len(whole)))
		p.busy.Store(true)
		err = p.take(ctx, whole, part, inflight, room)
		p.busy.Store(false)
		if err != nil {
			return err
		}
	}
}

// has says whether the frame that a part is of, by its own word, is here already.
func (p *pull) has(part *wire.Part) bool {
	return part.LastRevision <= p.at.Revision && part.Incarnation == p.at.Incarnation
}

// take verifies a whole shipment, and proposes its frames.
func (p *pull) take(ctx context.Context, whole []byte, part *wire.Part, inflight chan<- proposal, room *semaphore.Weighted) error {
	frames, err := p.from.Unpack(whole)
	if errors.Is(err, wire.ErrHistory) {
		if p.has(part) {
			return nil // of another run, as two leaders of the origin may write them for a moment
		}
		return fmt.Errorf("%w: %w", errGap, err)
	}
	if err != nil {
		p.metrics.refused.WithLabelValues(p.peer.Name, wire.Kind_KIND_SHIPMENT.String()).Inc()
		p.cfg.Logger.Error("frame refused", "origin", p.peer.Name, "error", err)
		return fmt.Errorf("%w: %w", errGap, err)
	}
	p.urgency.note(p.from.Unawaited())
	for i := range frames {
		if err := p.propose(ctx, frames[i], inflight, room); err != nil {
			return err
		}
	}
	return nil
}

// propose checks that a frame is the next one, and proposes it.
func (p *pull) propose(ctx context.Context, frame event.Sealed, inflight chan<- proposal, room *semaphore.Weighted) error {
	step, err := p.at.Next(&frame)
	if err != nil {
		return fmt.Errorf("%w: %w", errGap, err)
	}
	if step == event.StepSkip {
		return nil
	}
	bytes := min(int64(len(frame.Bytes)), int64(p.cfg.ProposeBytes))
	if err := room.Acquire(ctx, bytes); err != nil {
		return context.Cause(ctx)
	}
	p.noteStamp(&frame)
	result, err := p.cfg.Applier.Propose(ctx, frame)
	if err != nil {
		room.Release(bytes)
		return fmt.Errorf("propose frame %d..%d: %w", frame.First, frame.Last, err)
	}
	p.at = event.Position{Origin: frame.Origin, Incarnation: frame.Incarnation, Revision: frame.Last, Hash: frame.Hash}
	p.reached.Store(frame.Last)
	p.metrics.framesReceived.WithLabelValues(p.peer.Name).Inc()
	select {
	case inflight <- proposal{last: frame.Last, bytes: bytes, result: result}:
		return p.breathe(ctx, &frame, room)
	case <-ctx.Done(): // the proposal may still be applied, which does no harm
		return context.Cause(ctx)
	}
}

// collect awaits proposals in order. The first failure ends the pull; the rest are still awaited, so that
// the next pull starts from a settled position, but all together no longer than ApplyTimeout.
func (p *pull) collect(inflight <-chan proposal, room *semaphore.Weighted, cancel context.CancelCauseFunc) {
	failed, left := false, p.cfg.ApplyTimeout
	for pr := range inflight {
		began := time.Now()
		err := p.settle(pr, left)
		if failed {
			left -= time.Since(began)
		}
		switch {
		case err == nil:
			p.moved.Store(true)
		case !failed:
			failed = true
			cancel(err)
		}
		room.Release(pr.bytes)
	}
}

// settle awaits the result of one proposal.
func (p *pull) settle(pr proposal, limit time.Duration) error {
	late := time.NewTimer(max(0, limit))
	defer late.Stop()
	select {
	case err := <-pr.result:
		if err != nil {
			return p.failure(pr, err)
		}
		return nil
	case <-late.C:
		return fmt.Errorf("%w: up to %d", errApplySlow, pr.last)
	}
}

func (p *pull) failure(pr proposal, err error) error {
	if errors.Is(err, event.ErrGap) || errors.Is(err, event.ErrIncarnation) {
		return fmt.Errorf("%w: apply up to %d: %w", errGap, pr.last, err)
	}
	return fmt.Errorf("apply up to %d: %w", pr.last, err)
}

// watch ends the pull when it hears heartbeats but nothing else, although the origin has more and nothing
// waits for this DC: its consumer or its shipper is not where it should be.
func (p *pull) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := p.beat(p.cfg.StallAfter / 4)
	defer tick.stop()
	for {
		select {
		case <-tick.C:
			tick.next()
		case <-ctx.Done():
			return
		}
		if why := p.lacks.Load(); why != nil {
			cancel(fmt.Errorf("%w: %s", errNeedsData, *why))
			return
		}
		p.mu.Lock()
		head := p.status.head
		p.mu.Unlock()
		reached := p.reached.Load()
		if p.busy.Load() || p.cfg.Chain.Position(p.peer.Name).Revision < reached {
			p.touch() // this DC is the slow one
			continue
		}
		idle := int64(p.cfg.Clock().Sub(p.began)) - p.lastFrame.Load()
		if head != nil && *head > reached && idle > int64(p.cfg.StallAfter) {
			cancel(errStalled)
			return
		}
	}
}

func (p *pull) touch() { p.lastFrame.Store(int64(p.cfg.Clock().Sub(p.began))) }
