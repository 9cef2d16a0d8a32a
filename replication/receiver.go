package replication

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"geogate/replication/event"
	"geogate/replication/wire"
)

// receiver brings an origin's chain here: it keeps a connection to the node that leads the origin, and one
// pull after the other on it.
type receiver struct {
	*lead
	peer     *Peer
	verifier *wire.Verifier

	// Owned by run.
	next   int    // the endpoint to try next
	prefer string // the node that was named as the leader
	gap    bool   // the last pull ended with a gap
	merge  *merge // nil while no snapshot is being merged
	base   base
	// heldSaid is why a frame had to wait, as it was last logged.
	heldSaid string

	link  atomic.Pointer[link]   // nil while there is none to the node that leads the origin
	lacks atomic.Pointer[string] // set by pings: why a snapshot is needed although the pull goes well
	// urgency is that of the acks.
	urgency urgency
	// unhurried: no write of the origin waits for other DCs, by the last ping. Its frames may say otherwise: they may be old.
	unhurried atomic.Bool

	mu     sync.Mutex
	status receiverStatus // guarded by mu
}

// receiverStatus is what operators see of it.
type receiverStatus struct {
	state    ReceiverState
	said     ReceiverState // the last one logged
	reason   string
	since    time.Time
	endpoint string
	node     string
	pulls    uint64
	rtt      *time.Duration
	clock    *reading // nil while it was never read
	head     *int64   // of the origin's chain, as it last said
	marks    []*wire.Watermark
	heard    time.Time        // when it last said anything
	nodes    []*wire.Endpoint // of the origin, as it last said
	future   future
}

func newReceiver(l *lead, p *Peer) *receiver {
	return &receiver{
		lead: l, peer: p, verifier: l.verifiers[p.Name], urgency: newUrgency(),
		status: receiverStatus{state: ReceiverConnecting, since: l.cfg.Clock()},
	}
}

func (r *receiver) run(ctx context.Context) {
	retry := backoff{min: r.cfg.RetryMin, max: r.cfg.RetryMax}
	for ctx.Err() == nil {
		began := r.cfg.Clock()
		link, err := r.dial(ctx)
		if err == nil {
			moved := false
			moved, err = r.follow(ctx, link)
			link.close()
			if moved {
				retry.reset()
			}
		}
		if ctx.Err() != nil {
			return
		}
		var to *redirect
		if errors.As(err, &to) && to.leader != "" {
			r.prefer = to.leader
			continue // at once: the leader is known
		}
		r.set(ReceiverConnecting, err.Error())
		retry.waitSince(ctx, r.cfg.Clock().Sub(began)) // to wait for nothing was a pause
	}
}

// follow runs pulls on a link until it fails. It says whether any frame or valid answer came.
func (r *receiver) follow(ctx context.Context, k *link) (moved bool, err error) {
	if r.peers[r.peer.Name].witness {
		return r.attend(ctx, k)
	}
	retry := backoff{min: r.cfg.RetryMin, max: r.cfg.RetryMax}
	for ctx.Err() == nil {
		reply, err := k.sync(ctx, r.gap)
		if err != nil {
			return moved, err
		}
		if reply.Status == wire.SyncStatus_SYNC_NOT_LEADER {
			return moved, &redirect{leader: reply.Leader}
		}
		k.lead() // from here on it gets acks and pings
		moved = true
		if why, needed := r.snapshotFor(reply); needed {
			if err := r.snapshot(ctx, k, reply, why); err != nil {
				if !k.up() || errors.Is(err, errRedirected) {
					return moved, err
				}
				retry.wait(ctx)
			}
			continue
		}
		switch reply.Status {
		case wire.SyncStatus_SYNC_OK:
			reason := "live"
			if reply.Source == wire.Source_SOURCE_DIFFERENCE {
				reason = "catching up from the origin's chain"
			}
			r.merge = nil // if one had begun, it is not needed any more
			r.set(ReceiverPulling, reason)
			applied, err := r.pull(ctx, k, reply)
			r.ended(err)
			if applied {
				retry.reset()
			}
			switch {
			case errors.Is(err, errDifference):
				continue
			case errors.Is(err, event.ErrHeld):
				r.waitHeld(ctx, k)
				continue
			case errors.Is(err, errHeartbeat):
				return moved, err // to wait on a connection that may be dead takes longer than to dial
			}
		case wire.SyncStatus_SYNC_TOO_OLD, wire.SyncStatus_SYNC_INCARNATION, wire.SyncStatus_SYNC_DIVERGED:
			r.refusedBy(reply)
			pause(ctx, r.cfg.RefusedInterval)
			if !k.up() {
				return moved, context.Cause(k.lost)
			}
			continue
		default:
			r.set(ReceiverWaiting, reply.Detail)
		}
		if !k.up() {
			return moved, context.Cause(k.lost)
		}
		retry.wait(ctx)
	}
	return moved, ctx.Err()
}

// ended records why a pull ended, once.
func (r *receiver) ended(err error) {
	r.gap = errors.Is(err, errGap)
	reason := endReason(err)
	r.metrics.pulls.WithLabelValues(r.peer.Name, reason).Inc()
	if reason == "difference" || reason == "stopped" {
		return
	}
	r.set(ReceiverWaiting, err.Error())
	if errors.Is(err, event.ErrHeld) {
		if r.heldSaid == err.Error() {
			return // once, and not after each attempt
		}
		r.heldSaid = err.Error()
	}
	r.cfg.Logger.Info("pull ended", "origin", r.peer.Name, "error", err)
}

// snapshotFor says whether the peer's answer means that frames no longer lead from here to it, and why.
func (r *receiver) snapshotFor(reply *wire.SyncReply) (why string, needed bool) {
	if r.cfg.Snapshots == nil {
		return "", false
	}
	if why := r.cfg.Snapshots.Awaits(r.peer.Name); why != "" {
		return why, true
	}
	switch reply.Status {
	case wire.SyncStatus_SYNC_TOO_OLD, wire.SyncStatus_SYNC_INCARNATION:
		return reply.Detail, true
	}
	if why := r.lacks.Load(); why != nil && reply.Status == wire.SyncStatus_SYNC_OK {
		return *why, true
	}
	return r.lacking(reply.Vector)
}

// snapshot takes a snapshot when no other one is being taken. The handshake may be old by then, so it is
// repeated when this had to wait.
func (r *receiver) snapshot(ctx context.Context, k *link, reply *wire.SyncReply, why string) error {
	select {
	case r.merging <- struct{}{}:
	default:
		r.set(ReceiverWaiting, errMerging.Error())
		pause(ctx, r.cfg.RetryMax)
		if !k.up() {
			return context.Cause(k.lost)
		}
		return nil
	}
	defer func() { <-r.merging }()
	err := r.takeSnapshot(ctx, k, why)
	r.lacks.Store(nil) // what a ping saw meanwhile may be settled; the next one tells
	if err != nil {
		r.set(ReceiverWaiting, err.Error())
		r.cfg.Logger.Warn("snapshot interrupted", "from", r.peer.Name, "status", reply.Status.String(), "error", err)
		return err
	}
	return nil
}

// refusedBy stops this origin until something changes there.
func (r *receiver) refusedBy(reply *wire.SyncReply) {
	r.mu.Lock()
	known := r.status.state == ReceiverStopped
	r.mu.Unlock()
	r.set(ReceiverStopped, errNeedsData.Error()+": "+reply.Detail)
	if !known {
		r.cfg.Logger.Error("replication from an origin has stopped", "origin", r.peer.Name,
			"status", reply.Status.String(), "reason", reply.Detail)
	}
}

func (r *receiver) set(state ReceiverState, reason string) {
	r.mu.Lock()
	s := &r.status
	before := s.said
	if s.state != state {
		s.state, s.since = state, r.cfg.Clock()
	}
	s.reason = reason
	if state == ReceiverPulling {
		s.pulls++
	}
	if state != ReceiverWaiting { // which comes between any two pulls
		s.said = state
	}
	r.mu.Unlock()
	if state != ReceiverWaiting && before != state {
		r.cfg.Logger.Info("receiver state changed", "origin", r.peer.Name, "state", string(state), "reason", reason)
	}
}

// heard takes note of a sign of life of the origin.
func (r *receiver) heard() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.heard = r.cfg.Clock()
}

func endReason(err error) string {
	for reason, e := range map[string]error{
		"gap": errGap, "heartbeat": errHeartbeat, "stalled": errStalled, "ended": errEnded, "difference": errDifference,
		"apply": errApplySlow, "held": event.ErrHeld, "snapshot": errNeedsData, "disconnect": errDisconnect, "stopped": context.Canceled,
	} {
		if errors.Is(err, e) {
			return reason
		}
	}
	return "error"
}

// backoff is a pause that doubles: none at first, then min to max.
type backoff struct{ min, max, next time.Duration }

func (b *backoff) reset() { b.next = 0 }

func (b *backoff) wait(ctx context.Context) { b.waitSince(ctx, 0) }

// waitSince is wait for an attempt whose beginning is so long ago, which counts.
func (b *backoff) waitSince(ctx context.Context, passed time.Duration) {
	pause(ctx, b.next-passed)
	b.next = min(max(2*b.next, b.min), b.max)
}
