package replication

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"geogate/replication/wire"
)

// acknowledge tells the origin what is committed here: at once when its watermark advances, and each
// heartbeat interval. Advances that come while an ack is sent, or has to wait for AckMinInterval, share the next; so do
// those of UnawaitedAckInterval while nobody waits for them. Those between heartbeats are brief, if the origin takes that.
func (k *link) acknowledge(ctx context.Context) {
	r := k.r
	heartbeat := r.beat(r.cfg.HeartbeatInterval)
	defer heartbeat.stop()
	spaced := rate.NewLimiter(rate.Every(r.cfg.AckMinInterval), r.cfg.AckBurst)
	var sent int64 = -1
	var full time.Time // when the last one was sent that is not brief
	for ctx.Err() == nil {
		changed := r.cfg.Chain.Changed()
		if at := r.cfg.Chain.Position(r.peer.Name).Revision; at != sent {
			now := r.cfg.Clock()
			brief := sent >= 0 && k.brief.Load() && now.Sub(full) < r.cfg.HeartbeatInterval
			if err := k.sendAck(brief); err != nil {
				return // the connection has gone; its loss is reported elsewhere
			}
			if sent = at; !brief {
				full = now
			}
			r.urgency.pause(ctx, r.cfg.UnawaitedAckInterval)
			if err := spaced.Wait(ctx); err != nil {
				return
			}
			continue
		}
		select {
		case <-changed:
		case <-heartbeat.C:
			heartbeat.next()
			sent = -1
		case <-ctx.Done():
		}
	}
}

// sendAck says what is applied here of the origin, and unless it is brief of all others. Where homes may move, all of it
// is lowered together or not at all, so it is never brief.
func (k *link) sendAck(brief bool) error {
	r := k.r
	chain := r.cfg.Chain
	ack := &wire.Ack{
		From: r.cfg.Local, To: r.peer.Name, Incarnation: r.cfg.Incarnation(), Term: r.term,
		Seq:      r.ackSeq.Add(1),
		Position: wire.FromPosition(chain.Position(r.peer.Name)),
	}
	marks := r.rawWatermarks()
	limits := r.ackLimits() // after the marks were read
	limits.lowerMarks(r.cfg.Local, marks)
	ack.Limited = limits.position(r.cfg.Local, r.peer.Name, ack.Position)
	ack.Epochs = limits.epochs()
	if ack.Brief = brief && r.cfg.Homes == nil; !ack.Brief {
		ack.Vector, ack.Opinions = marks, r.told()
	}
	b, err := k.seal(ack)
	if err != nil {
		return err
	}
	if err := k.nc.Publish(ackSubject(r.peer.Name, r.cfg.Local), b); err != nil {
		return err
	}
	r.metrics.acksSent.WithLabelValues(r.peer.Name).Inc()
	return nil
}

func (k *link) seal(ack *wire.Ack) ([]byte, error) {
	if k.macs.Load() {
		return wire.SealFor(wire.Kind_KIND_ACK, ack, k.r.verifier)
	}
	return k.r.signer.Seal(wire.Kind_KIND_ACK, ack)
}

// watermarks is what this DC tells the others that it has applied.
func (e *Engine) watermarks() []*wire.Watermark {
	marks := e.rawWatermarks()
	e.ackLimits().lowerMarks(e.cfg.Local, marks)
	return marks
}

// rawWatermarks is what it has applied.
func (e *Engine) rawWatermarks() []*wire.Watermark {
	if e.cfg.Snapshots != nil {
		marks, _, _ := e.cfg.Snapshots.Marks()
		return wire.FromMarks(marks, false)
	}
	var out []*wire.Watermark
	for origin, revision := range e.ownVector() {
		w := &wire.Watermark{Origin: origin, Revision: revision, Incarnation: e.cfg.Chain.Position(origin).Incarnation}
		if origin == e.cfg.Local {
			w.Incarnation = e.cfg.Incarnation()
		}
		out = append(out, w)
	}
	return out
}
