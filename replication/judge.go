package replication

import (
	"context"
	"errors"
	"fmt"

	"geogate/replication/health"
)

// judge steps the health of all peers by the clock. An ack steps its sender's at once.
func (l *lead) judge(ctx context.Context) {
	l.noteAges()
	tick := l.beat(l.cfg.HealthInterval)
	defer tick.stop()
	for {
		select {
		case <-tick.C:
			tick.next()
		case <-ctx.Done():
			return
		}
		l.noteAges()
		for _, p := range l.peers {
			l.step(p)
			l.judgeCause(p)
		}
		l.tellOpinions()
		l.judgeClock()
	}
}

// noteAges looks where the head of the chain is. What a peer has confirmed that is not known may be anything.
func (l *lead) noteAges() {
	head := l.cfg.Chain.Position(l.cfg.Local).Revision
	confirmed := head
	for _, name := range l.data {
		acked, known := l.tracker.Acked(name)
		if !known {
			acked = -1
		}
		confirmed = min(confirmed, acked)
	}
	l.ages.note(l.cfg.Clock(), head, confirmed)
}

func (l *lead) step(p *peer) {
	acked, known := l.tracker.Acked(p.name)
	head := l.cfg.Chain.Position(l.cfg.Local).Revision
	p.mu.Lock()
	o := health.Observation{At: l.cfg.Clock(), Contact: p.contact, Acked: acked, Behind: !p.witness && (!known || acked < head)}
	m, changed := p.machine.Step(l.cfg.Health, o)
	p.machine = m
	l.noteLostLocked(p, acked, known)
	if changed != nil {
		p.events.Add(*changed)
	}
	l.stepBreakerLocked(p, o)
	p.mu.Unlock()
	if changed == nil {
		return
	}
	l.metrics.transitions.WithLabelValues(p.name, changed.To.String()).Inc()
	log := l.cfg.Logger.With("peer", p.name, "from", changed.From.String(), "to", changed.To.String(), "reason", changed.Reason)
	if changed.To == health.Down {
		log.Error("peer health changed")
	} else {
		log.Info("peer health changed")
	}
}

// noteLostLocked takes note of whether the peer stands behind what is retained for it: it needs a snapshot
// then, which it asks for itself.
func (l *lead) noteLostLocked(p *peer, acked int64, known bool) {
	if !known {
		return
	}
	_, err := l.cfg.Chain.Backlog(l.cfg.Local, acked)
	lost := errors.Is(err, ErrTrimmed)
	if lost == (p.lost != "") {
		return
	}
	log := l.cfg.Logger.With("peer", p.name, "acked", acked)
	now := health.Event{At: l.cfg.Clock(), From: p.machine.State, To: p.machine.State}
	if lost {
		p.lost = fmt.Sprintf("it has confirmed up to %d, and what is behind that is past retention", acked)
		now.Reason = "needs a snapshot: " + p.lost
		log.Error("peer needs a snapshot", "reason", p.lost)
	} else {
		p.lost = ""
		now.Reason = "needs no snapshot any more"
		log.Info("peer needs no snapshot any more")
	}
	p.events.Add(now)
}
