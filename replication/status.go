package replication

import (
	"time"

	"geogate/replication/health"
)

// PeerStatus is what this node knows of another DC. A nil pointer is unknown: on a node that does not lead,
// almost everything is.
type PeerStatus struct {
	DC          string     `json:"dc"`
	Witness     bool       `json:"witness,omitempty"` // it or this DC holds no data: no frames are exchanged
	Health      string     `json:"health"`            // healthy, suspected, down, recovering; unknown where this node does not lead
	Since       *time.Time `json:"since"`
	Reason      string     `json:"reason"`
	Breaker     string     `json:"breaker"`              // closed, open, half-open: whether writes may wait for it; empty is unknown
	LastContact *float64   `json:"last_contact_seconds"` // since its last ack
	Acked       *int64     `json:"acked_revision"`       // of this DC's chain
	LagTxns     *int64     `json:"lag_txns"`             // committed here, not confirmed there
	LagBytes    *int64     `json:"lag_bytes"`
	LagSeconds  *float64   `json:"lag_seconds"` // age of the oldest of them, on this DC's clock
	RTTMillis   *float64   `json:"rtt_ms"`
	SkewMillis  *float64   `json:"skew_ms"` // its clock minus this one
	// StampsAhead is how far the stamp of the frame received last is ahead of this node's clock, when that is more
	// than max_clock_skew.
	StampsAhead *float64 `json:"stamps_ahead_ms,omitempty"`
	// NeedsSnapshot says why frames no longer lead from this DC to the peer: it stands behind what is retained.
	NeedsSnapshot string `json:"needs_snapshot"` // empty when they do, or where that is unknown
	// Codec is the best one that the peer takes, as it said at its last handshake with this node: zstd, or s2 when its build or
	// configuration knows no better, which makes this DC's frames for all peers s2. Empty while it has said nothing.
	Codec string `json:"codec,omitempty"`
	// Cause says why the peer is not heard from: dc down, link broken, one-way, or unknown when nobody can be asked;
	// empty while both directions work.
	Cause        string          `json:"cause"`
	CauseDetail  string          `json:"cause_detail,omitempty"`
	Opinions     []OpinionStatus `json:"opinions,omitempty"` // of the other DCs on it, those that are fresh
	Receiver     ReceiverStatus  `json:"receiver"`
	Verify       VerifyStatus    `json:"verify"`
	HealthEvents []health.Event  `json:"health_events,omitempty"` // newest last
}

// ReceiverState says how the way from another DC to this one is doing.
type ReceiverState string

// The states of a receiver.
const (
	ReceiverUnknown    ReceiverState = "unknown"    // this node does not lead
	ReceiverConnecting ReceiverState = "connecting" // no connection to the node that leads the origin
	ReceiverWaiting    ReceiverState = "waiting"    // connected, between pulls
	ReceiverPulling    ReceiverState = "pulling"    // frames flow, or there are none
	ReceiverMerging    ReceiverState = "merging"    // a snapshot of the origin is being merged
	ReceiverWitness    ReceiverState = "witness"    // connected; one of the two DCs holds no data, and gets none
	ReceiverStopped    ReceiverState = "stopped"    // cannot continue without an operator
)

// ReceiverStatus is the way from another DC to this one.
type ReceiverStatus struct {
	State    ReceiverState `json:"state"`
	Reason   string        `json:"reason"`
	Since    *time.Time    `json:"since"`
	Endpoint string        `json:"endpoint"` // tried last
	Node     string        `json:"node"`
	Pulls    uint64        `json:"pulls"`         // begun since this node leads
	Applied  int64         `json:"applied"`       // origin revision applied here
	Head     *int64        `json:"head"`          // origin revision the origin last reported
	Heard    *float64      `json:"heard_seconds"` // since the origin last said anything
}

// Peers is the state of all peers, in the order of the configuration.
func (e *Engine) Peers() []PeerStatus {
	l := e.current.Load()
	out := make([]PeerStatus, 0, len(e.cfg.Peers))
	for _, p := range e.cfg.Peers {
		applied := e.cfg.Chain.Position(p.Name).Revision
		if l == nil {
			out = append(out, PeerStatus{
				DC: p.Name, Health: "unknown", Reason: "this node does not lead its datacenter",
				Receiver: ReceiverStatus{State: ReceiverUnknown, Applied: applied},
				Verify:   VerifyStatus{State: "unknown", Reason: "this node does not lead its datacenter"},
			})
			continue
		}
		s := l.status(l.peers[p.Name])
		s.Receiver.Applied = applied
		out = append(out, s)
	}
	return out
}

func (l *lead) status(p *peer) PeerStatus {
	now := l.cfg.Clock()
	p.mu.Lock()
	since := p.machine.Since
	s := PeerStatus{
		DC: p.name, Witness: p.witness, Health: p.machine.State.String(), Since: &since, Reason: p.machine.Reason, Breaker: string(p.breaker.State),
		HealthEvents: p.events.Events(), NeedsSnapshot: p.lost, Codec: p.takes.label(),
	}
	if !p.contact.IsZero() {
		s.LastContact = seconds(now.Sub(p.contact))
	}
	p.mu.Unlock()
	l.addLag(&s, now)
	p.receiver.addStatus(&s, now)
	if s.Verify = p.comparison.status(); p.witness {
		s.Verify = VerifyStatus{State: "off", Reason: "a witness holds no data"}
	}
	l.addCause(&s, p, now)
	if m, known := p.receiver.clockOf(now, l.stepped()); known {
		s.SkewMillis = millis(m.Skew)
	}
	return s
}

// addLag measures what a peer has not confirmed. It stays unknown until the peer has said where it stands,
// and does not depend on the peer from then on, so it grows while the peer is silent.
func (l *lead) addLag(s *PeerStatus, now time.Time) {
	acked, known := l.tracker.Acked(s.DC)
	if !known {
		return
	}
	s.Acked = &acked
	b, err := l.cfg.Chain.Backlog(l.cfg.Local, acked)
	if err != nil {
		return
	}
	s.LagTxns, s.LagBytes, s.LagSeconds = &b.Txns, &b.Bytes, new(float64)
	if b.Txns > 0 && !b.Oldest.IsZero() {
		s.LagSeconds = seconds(l.ages.of(now, acked, l.cfg.Wall().Sub(b.Oldest)))
	}
}

func (r *receiver) addStatus(s *PeerStatus, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := r.status.since
	s.Receiver = ReceiverStatus{
		State: r.status.state, Reason: r.status.reason, Since: &since, Endpoint: r.status.endpoint, Node: r.status.node,
		Pulls: r.status.pulls, Head: r.status.head,
	}
	if !r.status.heard.IsZero() {
		s.Receiver.Heard = seconds(now.Sub(r.status.heard))
	}
	if r.status.future.ahead > 0 {
		s.StampsAhead = millis(r.status.future.ahead)
	}
	if r.status.rtt != nil {
		s.RTTMillis = millis(*r.status.rtt)
	}
}

func seconds(d time.Duration) *float64 { v := d.Seconds(); return &v }
func millis(d time.Duration) *float64  { v := d.Seconds() * 1000; return &v }
