package replication

import (
	"context"
	"time"

	"geogate/replication/wire"
)

// acknowledge tells the origin what is committed here: at once when its watermark advances, and each
// heartbeat interval. Advances that come while an ack is sent, or within AckMinInterval, share the next.
func (k *link) acknowledge(ctx context.Context) {
	r := k.r
	heartbeat := time.NewTicker(r.cfg.HeartbeatInterval)
	defer heartbeat.Stop()
	var sent int64 = -1
	for ctx.Err() == nil {
		changed := r.cfg.Chain.Changed()
		if at := r.cfg.Chain.Position(r.peer.Name).Revision; at != sent {
			if err := k.sendAck(); err != nil {
				return // the connection has gone; its loss is reported elsewhere
			}
			sent = at
			pause(ctx, r.cfg.AckMinInterval)
			continue
		}
		select {
		case <-changed:
		case <-heartbeat.C:
			sent = -1
		case <-ctx.Done():
		}
	}
}

func (k *link) sendAck() error {
	r := k.r
	chain := r.cfg.Chain
	ack := &wire.Ack{
		From: r.cfg.Local, To: r.peer.Name, Incarnation: r.cfg.Incarnation(), Term: r.term,
		Seq: r.ackSeq.Add(1), SentUnixNano: r.cfg.Clock().UnixNano(),
		Position: wire.FromPosition(chain.Position(r.peer.Name)),
	}
	for origin, revision := range r.ownVector() {
		w := &wire.Watermark{Origin: origin, Revision: revision, Incarnation: chain.Position(origin).Incarnation}
		if origin == r.cfg.Local {
			w.Incarnation = ack.Incarnation
		}
		ack.Vector = append(ack.Vector, w)
	}
	b, err := r.signer.Seal(wire.Kind_KIND_ACK, ack)
	if err != nil {
		return err
	}
	if err := k.nc.Publish(ackSubject(r.peer.Name, r.cfg.Local), b); err != nil {
		return err
	}
	r.metrics.acksSent.WithLabelValues(r.peer.Name).Inc()
	return nil
}
