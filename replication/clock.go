package replication

import (
	"fmt"
	"time"

	"geogate/replication/skew"
)

const (
	// clockHold is for how long a fenced clock must be right before it is let off: some pings.
	clockHold = 3 * time.Second
	// clockPings is for how many pings without answer a peer's clock counts as known: a few that are lost under
	// load must not lift the fence.
	clockPings = 5
)

// reading is the clock of a peer's leader as a ping has read it.
type reading struct {
	skew    time.Duration // the peer's clock minus this one
	rtt     time.Duration
	at      time.Time // of the reading, steady
	stepped time.Duration
}

// ClockStatus is where the clock of the node that leads stands.
type ClockStatus struct {
	State       string     `json:"state"`           // unknown, within, fenced
	AheadMillis *float64   `json:"ahead_ms"`        // of the median of the peers' clocks; nil is unknown, negative is behind
	LimitMillis float64    `json:"limit_ms"`        // max_clock_skew; 0 never fences
	Peers       []string   `json:"peers,omitempty"` // whose clocks are known
	Since       *time.Time `json:"since"`           // of the state
	Refused     string     `json:"refused"`         // why multi-writer writes are refused; empty when they are not

	Events []skew.Change `json:"events,omitempty"` // newest last
}

// stepped is how far the wall clock has run off from the steady one: it jumps when somebody sets the clock.
func (e *Engine) stepped() time.Duration {
	return e.cfg.Wall().Sub(e.wallBegan) - e.cfg.Clock().Sub(e.began)
}

// clockOf is a peer's clock, if it was read lately. What this node's clock was set by since is counted, so that a
// step shows before the next ping.
func (r *receiver) clockOf(now time.Time, stepped time.Duration) (m skew.Measurement, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.status.clock
	if c == nil || now.Sub(c.at) > clockPings*r.cfg.PingInterval {
		return m, false
	}
	return skew.Measurement{Peer: r.peer.Name, Skew: c.skew - (stepped - c.stepped), Error: c.rtt / 2}, true
}

// judgeClock compares this node's clock with those of the peers.
func (l *lead) judgeClock() {
	now, stepped := l.cfg.Clock(), l.stepped()
	var known []skew.Measurement
	for _, name := range l.order {
		if m, ok := l.peers[name].receiver.clockOf(now, stepped); ok {
			known = append(known, m)
		}
	}
	if len(known) < len(l.order) && now.Sub(l.ledSince) < clockPings*l.cfg.PingInterval {
		known = nil // the first answer alone might be of the one clock that is wrong
	}
	l.clockMu.Lock()
	defer l.clockMu.Unlock()
	f, change := l.fence.Step(skew.Limits{Max: l.cfg.MaxClockSkew, Hold: clockHold}, now, known)
	l.fence = f
	if f.State != skew.Fenced {
		l.refusal.Store(nil)
	} else {
		err := l.aheadError(f)
		l.refusal.Store(&err)
	}
	if change == nil {
		return
	}
	if l.changes = append(l.changes, *change); len(l.changes) > l.cfg.HealthEvents {
		l.changes = l.changes[1:]
	}
	log := l.cfg.Logger.With("from", string(change.From), "to", string(change.To), "reason", change.Reason)
	switch {
	case change.To == skew.Fenced:
		log.Error("this node's clock is fenced: multi-writer writes are refused; set it right")
	case change.From == skew.Fenced && change.To == skew.Unknown:
		log.Warn("this node's clock is no longer fenced, because no peer's clock is known: it may still be wrong")
	case change.From == skew.Fenced:
		log.Info("this node's clock is no longer fenced")
	default:
		log.Debug("this node's clock")
	}
}

// aheadError says what a client, and whoever is called because of it, has to know.
func (l *lead) aheadError(f skew.Fence) error {
	if f.Ahead <= l.cfg.MaxClockSkew {
		return fmt.Errorf("%w: it was by more than max_clock_skew %s; now %s, and writes are taken again when it has been within %s for %s",
			ErrClockAhead, l.cfg.MaxClockSkew, f.Describe(), l.cfg.MaxClockSkew/2, clockHold)
	}
	return fmt.Errorf("%w: %s, more than max_clock_skew %s, and its writes would win over later ones of other datacenters; set the clock of node %s (NTP, chrony); reads and what other datacenters write go on",
		ErrClockAhead, f.Describe(), l.cfg.MaxClockSkew, l.cfg.Node)
}

// Originate says whether this node may stamp writes that compete by their stamp: the error wraps
// [ErrClockAhead]. It is nil where this node does not lead, since nothing is stamped there.
func (e *Engine) Originate() error {
	if l := e.current.Load(); l != nil {
		if err := l.refusal.Load(); err != nil {
			return *err
		}
	}
	return nil
}

// Clock is where the clock of this node stands while it leads; elsewhere unknown.
func (e *Engine) Clock() ClockStatus {
	s := ClockStatus{State: string(skew.Unknown), LimitMillis: *millis(e.cfg.MaxClockSkew)}
	l := e.current.Load()
	if l == nil {
		return s
	}
	l.clockMu.Lock()
	defer l.clockMu.Unlock()
	since := l.fence.Since
	s.State, s.Since, s.Peers = string(l.fence.State), &since, l.fence.Peers
	s.Events = append(s.Events, l.changes...)
	if l.fence.State != skew.Unknown {
		s.AheadMillis = millis(l.fence.Ahead)
	}
	if err := l.refusal.Load(); err != nil {
		s.Refused = (*err).Error()
	}
	return s
}
