package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"geogate/replication/event"
	"geogate/replication/health"
	"geogate/replication/wire"
)

// relay brings frames of origins that are down from the peer of this link, which retains what this DC has
// not confirmed: what reached any DC reaches all. It looks for such frames as often as the peer is pinged.
// An origin that comes back meanwhile does no harm: frames that are here already are skipped.
func (k *link) relay(ctx context.Context) {
	tick := k.r.beat(k.r.cfg.PingInterval)
	defer tick.stop()
	for {
		select {
		case <-tick.C:
			tick.next()
		case <-k.wanted:
		case <-ctx.Done():
			return
		}
		for _, origin := range k.r.order {
			if k.r.wantsRelay(origin) {
				k.relayOf(ctx, origin)
			}
		}
	}
}

// wantsRelay says whether the peer has frames of an origin that is down, and that this DC lacks.
func (r *receiver) wantsRelay(origin string) bool {
	p := r.peers[origin]
	p.mu.Lock()
	down := p.machine.State == health.Down
	p.mu.Unlock()
	own := r.cfg.Chain.Position(origin)
	if life, _, needed := r.wantsOf(origin); needed && origin != r.peer.Name && (own.Incarnation == life.Incarnation || own.Incarnation == 0) {
		// The home's own link may be up and its frames be here, held until a move allows them: asking costs a message.
		return !p.receiver.pulling()
	}
	if origin == r.peer.Name || !down || p.receiver.pulling() {
		return false
	}
	for _, w := range r.heldThere() {
		if w.Origin == origin && !w.Past && w.Revision > own.Revision && (w.Incarnation == own.Incarnation || own.Incarnation == 0) {
			return true
		}
	}
	return false
}

// relayOf pulls windows of frames until the peer has no more, or something goes wrong.
func (k *link) relayOf(ctx context.Context, origin string) {
	r := k.r
	if r.peers[origin].relaying.Swap(true) {
		return // from another peer
	}
	defer r.peers[origin].relaying.Store(false)
	log := r.cfg.Logger.With("origin", origin, "from", r.peer.Name)
	log.Info("an origin is down: its frames are taken from another datacenter", "behind", r.cfg.Chain.Position(origin).Revision)
	for ctx.Err() == nil {
		done, err := k.relayWindow(ctx, origin)
		if errors.Is(err, errNotKept) {
			why := fmt.Sprintf("%s is down, and of its chain this peer has more but not all frames: %v", origin, err)
			r.lacks.Store(&why)
		}
		if err != nil {
			log.Warn("relay ended", "error", err)
			return
		}
		if done {
			log.Info("relay has brought all there is", "up_to", r.cfg.Chain.Position(origin).Revision)
			return
		}
	}
}

// relayWindow proposes one window of frames and awaits them. The relaying DC signs what it sends, and the
// chain check refuses what does not continue the chain.
func (k *link) relayWindow(ctx context.Context, origin string) (done bool, err error) {
	r := k.r
	at := r.cfg.Chain.Position(origin)
	at.Origin = origin
	var inflight []proposal
	cursor := &wire.FramesCursor{Origin: origin, Position: wire.FromPosition(at)}
	f, err := k.fetch(ctx, &wire.FetchRequest{What: &wire.FetchRequest_Frames{Frames: cursor}},
		func(_ *wire.FetchReply, piece []byte) error {
			_, frame, err := event.Open(piece)
			if err != nil {
				return err
			}
			if frame.Origin != origin {
				return fmt.Errorf("%w: frame of %s", wire.ErrMessage, frame.Origin)
			}
			step, err := at.Next(&frame)
			if err != nil || step == event.StepSkip {
				return err
			}
			result, err := r.cfg.Applier.Propose(ctx, frame)
			if err != nil {
				return err
			}
			at = event.Position{Origin: origin, Incarnation: frame.Incarnation, Revision: frame.Last, Hash: frame.Hash}
			inflight = append(inflight, proposal{last: frame.Last, result: result})
			r.metrics.relayed.WithLabelValues(origin, r.peer.Name).Inc()
			return nil
		})
	for _, p := range inflight {
		late := time.NewTimer(r.cfg.ApplyTimeout)
		select {
		case failed := <-p.result:
			err = errors.Join(err, failed)
		case <-late.C:
			err = errors.Join(err, fmt.Errorf("%w: up to %d", errApplySlow, p.last))
		}
		late.Stop()
		if err != nil {
			return false, err
		}
	}
	if err != nil {
		return false, err
	}
	return f.done || len(inflight) == 0, nil
}

func (r *receiver) pulling() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status.state == ReceiverPulling || r.status.state == ReceiverMerging
}

// heldThere are the marks that the peer last told.
func (r *receiver) heldThere() []*wire.Watermark {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status.marks
}
