package replication

import (
	"fmt"
	"time"

	"geogate/replication/event"
	"geogate/replication/health"
)

// future is what is known of an origin whose frames have stamps ahead of this node's clock. They are taken all
// the same: refusing them would stop the chain, and stamps that are given here come after them anyway.
type future struct {
	ahead time.Duration // of the frame received last; 0 when it is within the limit
}

// noteStamp compares the stamp of a received frame with this node's clock.
func (r *receiver) noteStamp(s *event.Sealed) {
	limit := r.cfg.MaxClockSkew
	if limit == 0 {
		return
	}
	ahead := s.Committed().Sub(r.cfg.Wall())
	if ahead <= limit {
		ahead = 0
	}
	r.mu.Lock()
	was := r.status.future.ahead
	r.status.future.ahead = ahead
	r.mu.Unlock()
	if ahead > 0 {
		r.metrics.future.WithLabelValues(r.peer.Name).Inc()
	}
	if (was > 0) == (ahead > 0) {
		return
	}
	text := fmt.Sprintf("stamps of its writes are within %s of this node's clock again", limit)
	if ahead > 0 {
		text = fmt.Sprintf("stamps of its writes are %s ahead of this node's clock, more than max_clock_skew %s; they are taken, and win over writes of before",
			ahead.Round(time.Millisecond), limit)
	}
	r.cfg.Logger.Warn("stamps of an origin", "origin", r.peer.Name, "what", text)
	p := r.peers[r.peer.Name]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events.Add(health.Event{At: r.cfg.Clock(), From: p.machine.State, To: p.machine.State, Reason: text})
}
