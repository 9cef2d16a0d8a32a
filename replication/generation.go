package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"geogate/replication/event"
	"geogate/replication/wire"
)

// generation is one life of the outbox stream.
type generation struct {
	*outbox
	created time.Time // of the stream, its identity
	begin   chan int64
	over    chan struct{} // capacity 1: filled when the stream is not what it should be
	window  *semaphore.Weighted

	mu    sync.Mutex
	begun bool  // guarded by mu, as all below
	floor int64 // where the live frames begin, once begun
	index index // of live frames that JetStream has acknowledged
	tail  uint64
	run   uint64      // where the run begins that the newest of them is in
	fresh bool        // a reader waits for a run to begin
	needs wire.Reader // what a reader of all live frames must take
	said  string      // the codec that was last logged
}

func newGeneration(o *outbox, created time.Time) *generation {
	return &generation{
		outbox: o, created: created, begin: make(chan int64, 1), over: make(chan struct{}, 1),
		window: semaphore.NewWeighted(int64(o.cfg.PublishBytes)), index: index{max: o.cfg.IndexEntries},
	}
}

// again asks for a new stream in place of this one.
func (g *generation) again() {
	select {
	case g.over <- struct{}{}:
	default:
	}
}

// ship publishes the live frames. It returns when ctx ends or this life of the stream has.
func (g *generation) ship(ctx context.Context) error {
	var cur int64
	select {
	case cur = <-g.begin:
	case <-g.over:
		return errRebuild
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		err := g.shipFrom(ctx, cur)
		if ctx.Err() != nil || errors.Is(err, errRebuild) || errors.Is(err, errOutOfOrder) || errors.Is(err, ErrTrimmed) {
			return err
		}
		g.metrics.publishErrors.Inc()
		g.cfg.Logger.Warn("publishing to the outbox stream failed", "error", err)
		if err := g.alive(ctx); err != nil {
			return err
		}
		at := g.resume()
		if at == cur || g.embedded != nil {
			return errStreamLost // it is there, but takes nothing
		}
		cur = at
	}
}

// alive returns nil when the stream is still the one of this generation; it asks until it knows.
func (g *generation) alive(ctx context.Context) error {
	for {
		stream, err := g.js.Stream(ctx, streamName(g.cfg.Local))
		switch {
		case err == nil && stream.CachedInfo().Created.Equal(g.created):
			return nil
		case err == nil, errors.Is(err, jetstream.ErrStreamNotFound), g.embedded != nil:
			return errStreamLost
		case ctx.Err() != nil:
			return ctx.Err()
		}
		select {
		case <-g.over:
			return errRebuild
		default:
		}
		pause(ctx, g.cfg.RetryMax)
	}
}

// resume is behind the last frame that JetStream has acknowledged with all before it.
func (g *generation) resume() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e, ok := g.index.newest(); ok {
		return e.last
	}
	return g.floor
}

// shipFrom publishes frames behind a revision in a pipeline: this goroutine reads the chain, packs and
// publishes; collect awaits the answers in order.
func (g *generation) shipFrom(ctx context.Context, cur int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	live := newShipper(g.lead, "live", liveSubject(g.cfg.Local), g.data, g.window, g.packsFor)
	live.live = true
	pipeline := make(chan published, 1024)
	var collecting sync.WaitGroup
	collecting.Go(func() {
		var failed error // nothing behind a failed frame may enter the index
		for p := range pipeline {
			if failed == nil {
				if failed = g.collect(ctx, p); failed != nil {
					cancel(failed)
				} else {
					live.shipped(&p)
				}
			}
			g.window.Release(p.taken)
		}
	})
	err := g.publishAll(ctx, live, cur, pipeline)
	close(pipeline)
	if err != nil {
		cancel(err)
	}
	collecting.Wait()
	return context.Cause(ctx)
}

func (g *generation) publishAll(ctx context.Context, live *shipper, cur int64, pipeline chan<- published) error {
	var apart spacing
	for {
		if now := g.cfg.Clock(); g.awaits.quiet(now) {
			g.awaits.pause(ctx, apart.next(now, g.cfg.BundleInterval))
		}
		changed := g.cfg.Chain.Changed()
		frames, err := g.cfg.Chain.Frames(g.cfg.Local, cur, g.cfg.ReadBytes)
		if err != nil {
			return fmt.Errorf("read the chain behind %d: %w", cur, err)
		}
		if len(frames) == 0 {
			select {
			case <-changed:
				continue
			case <-g.over:
				return errRebuild
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		for len(frames) > 0 {
			if frames[0].PrevRevision != cur {
				return fmt.Errorf("%w: chain continues at %d, asked behind %d", ErrTrimmed, frames[0].PrevRevision, cur)
			}
			p, err := g.publish(ctx, live, frames)
			if err != nil {
				return err
			}
			frames, cur = frames[len(p.frames):], p.last()
			apart.sent(g.cfg.Clock(), p.writes)
			select {
			case pipeline <- p:
			case <-ctx.Done():
				g.window.Release(p.taken)
				return context.Cause(ctx)
			}
		}
	}
}

// publish sends the parts of a shipment, once there is room in the window.
func (g *generation) publish(ctx context.Context, live *shipper, frames []event.Sealed) (published, error) {
	select {
	case <-g.over:
		return published{}, errRebuild
	default:
	}
	if g.endsRun() {
		live.packer.EndRun()
	}
	return live.publish(ctx, frames)
}

// endsRun says, once, that the next frame must begin a run.
func (g *generation) endsRun() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.fresh
	g.fresh = false
	return was
}

// collect awaits JetStream's answer for a shipment and enters its frames into the index.
func (g *generation) collect(ctx context.Context, p published) error {
	first, last, err := await(ctx, p.futures)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if first <= g.tail {
		return fmt.Errorf("%w: %d after %d", errOutOfOrder, first, g.tail)
	}
	g.tail = last
	if p.begins {
		g.run = first
	}
	for _, e := range p.frames {
		e.seq, e.end = g.run, last
		g.index.add(e)
	}
	return nil
}

// start makes the live frames begin at a revision, if they have not begun yet, and returns where they do.
func (g *generation) start(revision int64) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.begun {
		g.begun, g.floor = true, revision
		g.begin <- revision
	}
	return g.floor
}

// hasBegun says whether live frames have begun.
func (g *generation) hasBegun() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.begun
}

// plan says where a reader behind a revision finds its frames: at a sequence among the live ones, given
// the stream's first sequence, or else in a difference up to a revision at which the live ones go on.
func (g *generation) plan(revision int64, firstSeq uint64) (seq uint64, until int64, live bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	newest, known := g.index.newest()
	switch {
	case revision < g.floor:
		until = g.floor
	case !known:
		return 1, 0, true // nothing acknowledged yet, so all live frames will come
	case revision >= newest.last && (!newest.run || newest.seq < firstSeq):
		// Where nobody writes much, a run may have begun before what the stream still has.
		g.fresh = g.fresh || newest.run
		return newest.end + 1, 0, true
	}
	if e, ok := g.index.startOf(revision); ok && revision >= g.floor && e.seq >= firstSeq {
		return e.seq, 0, true
	}
	// What the stream has discarded can't be read there any more. And what it is about to discard will be gone
	// when the reader gets there: one that is sent to the oldest frame follows the ring's end for as long as
	// there are writes, and never comes closer than what the ring holds.
	if e, ok := g.index.from(firstSeq); ok {
		if g.index.entries[0].seq < firstSeq {
			e, _ = g.index.halfway(firstSeq)
		}
		until = max(until, e.prev)
	} else if known {
		until = newest.last
	}
	return 0, until, false
}
