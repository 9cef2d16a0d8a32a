package replication

import (
	"fmt"
	"strings"
	"time"

	"geogate/replication/health"
	"geogate/replication/policy"
)

// stepBreakerLocked follows a peer's health with its breaker.
func (l *lead) stepBreakerLocked(p *peer, o health.Observation) {
	was := p.breaker.State
	b, why := p.breaker.Step(p.machine, o)
	p.breaker = b
	if why == "" {
		return
	}
	p.events.Add(health.Event{At: o.At, From: p.machine.State, To: p.machine.State, Reason: fmt.Sprintf("breaker %s: %s", b.State, why)})
	l.metrics.breakerChanges.WithLabelValues(p.name, string(b.State)).Inc()
	l.cfg.Logger.Info("breaker changed", "peer", p.name, "from", string(was), "to", string(b.State), "reason", why)
}

// passable counts the DCs that a wait may rest on, this one included: those whose breaker is closed, and those
// that a few may try. open names the others and why.
func (l *lead) passable() (closed, halfOpen int, open []string) {
	closed = 1
	for _, name := range l.data {
		p := l.peers[name]
		p.mu.Lock()
		b, m := p.breaker, p.machine
		p.mu.Unlock()
		switch b.State {
		case health.Closed:
			closed++
		case health.HalfOpen:
			halfOpen++
		case health.Open:
			open = append(open, fmt.Sprintf("%s since %s (%s)", name, m.Since.UTC().Format(time.RFC3339), m.Reason))
		}
	}
	return closed, halfOpen, open
}

func (l *lead) check(p policy.Policy) error {
	closed, halfOpen, open := l.passable()
	return l.metBy(p, closed+halfOpen, open)
}

// metBy says that so many DCs do not meet a policy, and which are missing.
func (l *lead) metBy(p policy.Policy, up int, open []string) error {
	n := 1 + len(l.data)
	if p.Met(n, up) {
		return nil
	}
	if len(open) == 0 {
		return fmt.Errorf("%w: %s needs %d datacenters, there are %d", ErrUnreachable, p, p.Needs(n), n)
	}
	return fmt.Errorf("%w: %s needs %d of %d, down: %s", ErrUnreachable, p, p.Needs(n), n, strings.Join(open, ", "))
}

// Admit lets a write through that is going to wait for a policy, unless [Engine.Check] refuses the policy, or it
// rests on a peer that is only coming back while HalfOpenWrites others try it. done must be called when
// the wait is over; it is never nil.
func (e *Engine) Admit(p policy.Policy) (done func(), err error) {
	nothing := func() {}
	if p == policy.Async {
		return nothing, nil
	}
	e.awaits.note(e.cfg.Clock())
	l := e.current.Load()
	if l == nil {
		return nothing, ErrNotLeading
	}
	closed, halfOpen, open := l.passable()
	if p.Met(1+len(l.data), closed) {
		return nothing, nil
	}
	if err := l.metBy(p, closed+halfOpen, open); err != nil {
		return nothing, err
	}
	if l.trying.Add(1) > int64(l.cfg.HalfOpenWrites) {
		l.trying.Add(-1)
		l.metrics.breakerRefused.Inc()
		return nothing, fmt.Errorf("%w: %s rests on datacenters that are only coming back, and %d writes (half_open_writes) try them already: ask again in a moment",
			ErrUnreachable, p, l.cfg.HalfOpenWrites)
	}
	return func() { l.trying.Add(-1) }, nil
}
