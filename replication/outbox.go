package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"geogate/replication/event"
)

// outbox owns the stream of this DC. The stream is a cache of the chain: it is made anew by each new leader
// and whenever it fails, which loses nothing, because a frame is dropped from the chain only when every
// peer has confirmed it. Each making is a generation.
//
// Nothing is published before the first peer asks: its position is where the live frames begin.
type outbox struct {
	*lead

	mu      sync.Mutex
	gen     *generation // guarded by mu; nil while there is no stream
	rebuilt time.Time   // guarded by mu: when a peer last caused a rebuild
}

func newOutbox(l *lead) *outbox {
	return &outbox{lead: l}
}

// rebuildInterval is how often peers may cause a new stream, which interrupts all pulls.
const rebuildInterval = 5 * time.Second

// run makes a stream and ships into it, again and again.
func (o *outbox) run(ctx context.Context) {
	defer o.drop()
	wait, said := time.Duration(0), ""
	for ctx.Err() == nil {
		opened := o.cfg.Clock()
		gen, err := o.open(ctx)
		if err == nil {
			o.set(gen)
			err = gen.ship(ctx)
			o.set(nil)
		}
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, errRebuild) {
			o.metrics.publishErrors.Inc()
		}
		if err.Error() != said {
			said = err.Error()
			o.cfg.Logger.Warn("outbox stream will be made anew", "stream", streamName(o.cfg.Local), "error", err)
		}
		if o.cfg.Clock().Sub(opened) > 2*o.cfg.RetryMax {
			wait, said = 0, "" // it has worked for a while: at once
		}
		pause(ctx, wait)
		wait = min(max(2*wait, o.cfg.RetryMin), o.cfg.RetryMax)
	}
}

// open drops the stream of before and makes a new one.
func (o *outbox) open(ctx context.Context) (*generation, error) {
	if o.embedded != nil {
		if err := o.embedded.revive(); err != nil {
			return nil, err
		}
	}
	if !o.nc.IsConnected() {
		return nil, errLocal
	}
	name := streamName(o.cfg.Local)
	if err := o.js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("delete stream: %w", err)
	}
	replicas, maxBytes, maxAge := 1, int64(0), time.Duration(0)
	if e := o.cfg.NATS.Embedded; e != nil {
		maxBytes, maxAge = e.MaxBytes, e.MaxAge
	} else {
		x := o.cfg.NATS.External
		replicas, maxBytes, maxAge = x.Replicas, x.MaxBytes, x.MaxAge
	}
	stream, err := o.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Description: "geogate outbox of " + o.cfg.Local + "; a cache, may be deleted",
		Subjects:  []string{liveSubject(o.cfg.Local), diffSubject(o.cfg.Local, "") + "*"},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
		MaxBytes: maxBytes, MaxAge: maxAge, Replicas: replicas,
		// Nothing is deduplicated by message id; the chain does that.
		Duplicates: time.Second,
	})
	if err != nil {
		return nil, fmt.Errorf("create stream: %w", err)
	}
	o.metrics.generations.Inc()
	return newGeneration(o, stream.CachedInfo().Created), nil
}

// drop removes the stream when this node no longer leads, which ends the pulls from it: their heartbeats
// come from the NATS server and would go on. An external stream may be the next leader's already.
func (o *outbox) drop() {
	if o.embedded == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.cfg.RequestTimeout)
	defer cancel()
	if err := o.js.DeleteStream(ctx, streamName(o.cfg.Local)); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		o.cfg.Logger.Warn("delete the outbox stream of before", "error", err)
	}
}

func (o *outbox) set(g *generation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gen = g
}

func (o *outbox) generation() *generation {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.gen
}

// againFor gives a generation up on behalf of a peer, which can't ask too often.
func (o *outbox) againFor(g *generation) bool {
	now := o.cfg.Clock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if now.Sub(o.rebuilt) < rebuildInterval {
		return false
	}
	o.rebuilt = now
	g.again()
	return true
}

// hashOf is the hash of the frame that ends at a revision, if it has been shipped lately.
func (o *outbox) hashOf(revision int64) (event.Hash, bool) {
	g := o.generation()
	if g == nil {
		return event.Hash{}, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.index.hashOf(revision)
}
