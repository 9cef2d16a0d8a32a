package gateway

import (
	"context"
	"fmt"
	"sync"
	"time"

	"geogate/dc"
	"geogate/replication/policy"
)

// degradation is the state of one keyspace whose writes may be degraded. It lives in the leader's memory, and is
// counted with the writes in the datacenter's own state: a new leader goes on from there.
type degradation struct {
	prefix string
	limits Degrade

	mu    sync.Mutex
	spell spell           // guarded by mu, as all below
	seen  time.Time       // up to here the time of the spell is counted
	why   string          // the policy can't be met
	over  *dc.Degradation // of a spell that is left, until the datacenter has taken that down

	ending bool // over is being taken down
}

// adoptLocked goes on with a degradation that the datacenter knows of.
func (s *Server) adoptLocked(d *degradation, now time.Time) {
	g, known := s.dc.Degraded()[d.prefix]
	switch {
	case !known:
		d.over = nil
		return
	case d.over != nil && d.over.Began == g.Began:
		return // it is over, and that is being taken down
	}
	d.over = nil
	if !d.spell.adopt(g) {
		return
	}
	d.seen, d.why = now, "it began under an earlier leader"
	s.metrics.degraded.WithLabelValues(d.prefix).Set(1)
	s.policyEvent(PolicyEvent{At: now, Keyspace: d.prefix, From: d.spell.high.String(), To: d.limits.To.String(),
		Reason: fmt.Sprintf("%s; %d bytes were written in %s", d.why, d.spell.bytes, now.Sub(d.spell.since).Round(time.Second))})
}

// takeDownLocked has the datacenter record that a degradation is over.
func (s *Server) takeDownLocked(d *degradation) {
	if d.over == nil || d.ending {
		return
	}
	d.ending = true
	over := map[string]dc.Degradation{d.prefix: *d.over}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.cfg.RequestTimeout)
		defer cancel()
		if err := s.dc.EndDegraded(ctx, over); err != nil {
			s.log.Warn("the end of a degradation was not recorded; it is tried again", "keyspace", d.prefix, "error", err)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.ending = false
	}()
}

func newDegradation(prefix string, limits Degrade) *degradations {
	return &degradations{[]*degradation{{prefix: prefix, limits: limits}}}
}

func (d *degradation) holds(p policy.Policy) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.spell.holds(p)
}

// weaken finds the policy under which a write is taken: its own, or the weaker one while its own can't be met,
// and for a while after. It returns [ErrUnreachable] when neither is possible.
func (s *Server) weaken(ctx context.Context, r rule, bytes int) (policy.Policy, error) {
	refused := s.replication.Check(r.policy)
	if refused != nil && retryable(refused) {
		return r.policy, refused
	}
	to, held := r.degrade.to(), refused != nil
	for _, d := range r.degrade.of {
		held = held || d.holds(r.policy)
	}
	if !held || to >= r.policy { // a request may ask for less than the keyspace degrades to
		return r.policy, s.unreachableUnless(ctx, r, refused)
	}
	if err := s.replication.Check(to); err != nil && refused != nil {
		return r.policy, s.unreachable(ctx, r, fmt.Errorf("%w; nor can %s, to which it may be degraded: %w", refused, to, err))
	}
	now := time.Now()
	for i, d := range r.degrade.of {
		if spent := s.take(d, now, r.policy, to, int64(bytes), refused); spent != "" {
			s.giveBack(r.degrade.of[:i], int64(bytes))
			if refused != nil {
				refused = fmt.Errorf("%w; the degradation to %s is used up: %s", refused, to, spent)
			}
			return r.policy, s.unreachableUnless(ctx, r, refused)
		}
	}
	return to, nil
}

func (s *Server) unreachableUnless(ctx context.Context, r rule, err error) error {
	if err == nil {
		return nil
	}
	return s.unreachable(ctx, r, err)
}

// take counts a write into the degradation, and tells when that begins it or finds it used up.
func (s *Server) take(d *degradation, now time.Time, asked, to policy.Policy, bytes int64, refused error) (spent string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.adoptLocked(d, now)
	_, began, spentNow := d.spell.take(d.limits, now, asked, bytes)
	if began {
		d.seen, d.why = now, "another keyspace of the same write is degraded"
		if refused != nil {
			d.why = refused.Error()
		}
		s.metrics.degraded.WithLabelValues(d.prefix).Set(1)
		s.policyEvent(PolicyEvent{At: now, Keyspace: d.prefix, From: asked.String(), To: to.String(), Reason: d.why})
	}
	if spentNow {
		s.policyEvent(PolicyEvent{At: now, Keyspace: d.prefix, From: to.String(), To: asked.String(),
			Reason: "the degradation is used up, writes fail: " + d.spell.spent})
	}
	return d.spell.spent
}

// giveBack undoes take for a write that certainly was not made.
func (s *Server) giveBack(of []*degradation, bytes int64) {
	for _, d := range of {
		d.mu.Lock()
		d.spell.bytes = max(0, d.spell.bytes-bytes)
		d.mu.Unlock()
	}
}

// lookAt counts the time of a degradation and leaves it when the peers are back.
func (s *Server) lookAt(d *degradation, st *standing) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if st.leading {
		s.adoptLocked(d, st.at)
		s.takeDownLocked(d)
	}
	if !d.spell.active {
		return
	}
	if lasted := st.at.Sub(d.seen); lasted > 0 {
		s.metrics.degradedSeconds.WithLabelValues(d.prefix).Add(lasted.Seconds())
		d.seen = st.at
	}
	was := d.spell
	e := PolicyEvent{At: st.at, Keyspace: d.prefix, From: d.limits.To.String(), To: was.high.String()}
	switch {
	case !st.leading:
		d.spell, d.over, e.Reason = spell{}, nil, "this node no longer leads"
	case d.spell.observe(d.limits, st.at, s.replication.Check(was.high) == nil && d.limits.caughtUp(st.peers, was.high)):
		e.Reason = fmt.Sprintf("the peers are back and close for %s; %d bytes were written meanwhile", d.limits.RecoverAfter, was.bytes)
		if g, known := s.dc.Degraded()[d.prefix]; known {
			d.over = &g
		}
	default:
		return
	}
	s.metrics.degraded.WithLabelValues(d.prefix).Set(0)
	s.policyEvent(e)
}

// PolicyEvent is a change of the policy under which a keyspace's writes are taken.
type PolicyEvent struct {
	At       time.Time `json:"at"`
	Keyspace string    `json:"keyspace"`
	From     string    `json:"from"`
	To       string    `json:"to"`
	Reason   string    `json:"reason"`
}

const maxPolicyEvents = 256

// policyEvents keeps the newest events.
type policyEvents struct {
	mu     sync.Mutex
	newest []PolicyEvent // guarded by mu; the newest last
}

func (s *Server) policyEvent(e PolicyEvent) {
	s.log.Warn("policy of writes changed", "keyspace", e.Keyspace, "from", e.From, "to", e.To, "reason", e.Reason)
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	if len(s.events.newest) == maxPolicyEvents {
		s.events.newest = append(s.events.newest[:0], s.events.newest[1:]...)
	}
	s.events.newest = append(s.events.newest, e)
}

// PolicyEvents are the newest changes that this node made while it led, the newest last.
func (s *Server) PolicyEvents() []PolicyEvent {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	return append([]PolicyEvent(nil), s.events.newest...)
}
