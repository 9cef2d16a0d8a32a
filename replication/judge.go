package replication

import (
	"context"
	"time"

	"geogate/replication/health"
)

// judge steps the health of all peers by the clock. An ack steps its sender's at once.
func (l *lead) judge(ctx context.Context) {
	tick := time.NewTicker(l.cfg.HealthInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, p := range l.peers {
			l.step(p)
		}
	}
}

func (l *lead) step(p *peer) {
	acked, known := l.tracker.Acked(p.name)
	head := l.cfg.Chain.Position(l.cfg.Local).Revision
	p.mu.Lock()
	m, changed := p.machine.Step(l.cfg.Health, health.Observation{
		At: l.cfg.Clock(), Contact: p.contact, Acked: acked, Behind: !known || acked < head,
	})
	p.machine = m
	if changed != nil {
		p.events.Add(*changed)
	}
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
