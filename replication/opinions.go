package replication

import (
	"time"

	"geogate/replication/health"
	"geogate/replication/wire"
)

// said is a peer's opinion on another DC, or on this one.
type said struct {
	of health.Opinion
	at time.Time // when it arrived
}

// OpinionStatus is how another DC sees a peer.
type OpinionStatus struct {
	DC      string   `json:"dc"` // whose opinion it is
	Health  string   `json:"health"`
	Contact *float64 `json:"last_contact_seconds"` // since the peer was last heard from there; nil for never
}

// silence is after how long without a word a way counts as silent: some pings, since nothing else may be sent.
func (l *lead) silence() time.Duration {
	return max(l.cfg.Health.SuspectAfter, 2*l.cfg.PingInterval+l.cfg.PingInterval/2)
}

// contacts are the ages of a peer's last ack, and of its last word in any way; nil for never.
func (l *lead) contacts(p *peer, now time.Time) (ack, word *time.Duration) {
	p.receiver.mu.Lock()
	heard := p.receiver.status.heard
	p.receiver.mu.Unlock()
	p.mu.Lock()
	contact := p.contact
	p.mu.Unlock()
	age := func(at time.Time) *time.Duration {
		if at.IsZero() {
			return nil
		}
		return new(now.Sub(at))
	}
	ack = age(contact)
	if heard.After(contact) {
		contact = heard
	}
	return ack, age(contact)
}

// tellOpinions makes this DC's opinions known to what sends acks and pongs.
func (l *lead) tellOpinions() {
	now := l.cfg.Clock()
	out := make([]*wire.Opinion, 0, len(l.order))
	for _, name := range l.order {
		p := l.peers[name]
		ack, contact := l.contacts(p, now)
		p.mu.Lock()
		state := p.machine.State
		p.mu.Unlock()
		out = append(out, &wire.Opinion{Dc: name, State: stateToWire(state), AckMillisPlusOne: millisPlusOne(ack), ContactMillisPlusOne: millisPlusOne(contact)})
	}
	l.opinions.Store(&out)
}

// told are the opinions that this node's acks and pongs carry; nil where it does not lead.
func (e *Engine) told() []*wire.Opinion {
	if l := e.current.Load(); l != nil {
		if o := l.opinions.Load(); o != nil {
			return *o
		}
	}
	return nil
}

// hear takes a peer's opinions; an older build has none.
func (l *lead) hear(from string, opinions []*wire.Opinion) {
	now := l.cfg.Clock()
	for _, o := range opinions {
		about := l.peers[o.Dc]
		if o.Dc == l.cfg.Local {
			about = l.peers[from]
		}
		if about == nil || (o.Dc == from) {
			continue // a DC that is not known here, or of itself
		}
		s := said{at: now, of: health.Opinion{
			DC: from, State: stateFromWire(o.State), Ack: ageFromWire(o.AckMillisPlusOne), Contact: ageFromWire(o.ContactMillisPlusOne),
		}}
		about.mu.Lock()
		about.said[from] = s
		about.mu.Unlock()
	}
}

// opinionsOn are the fresh opinions on a peer: its own on this DC, and the others' on it.
func (l *lead) opinionsOn(p *peer, now time.Time) (mine *health.Opinion, others []health.Opinion) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range l.order {
		s, ok := p.said[name]
		if !ok || now.Sub(s.at) > l.silence() {
			continue
		}
		for _, age := range []**time.Duration{&s.of.Ack, &s.of.Contact} {
			if *age != nil {
				*age = new(**age + now.Sub(s.at))
			}
		}
		if name == p.name {
			mine = &s.of
		} else {
			others = append(others, s.of)
		}
	}
	return mine, others
}

// judgeCause asks why a peer is not heard from.
func (l *lead) judgeCause(p *peer) {
	now := l.cfg.Clock()
	e := health.Evidence{Within: l.silence()}
	e.Mine, e.Others = l.opinionsOn(p, now)
	p.receiver.mu.Lock()
	heard := p.receiver.status.heard
	p.receiver.mu.Unlock()
	e.Answers = !heard.IsZero() && now.Sub(heard) < e.Within

	p.mu.Lock()
	defer p.mu.Unlock()
	e.Acks = !p.contact.IsZero() && now.Sub(p.contact) < e.Within
	was := p.verdict.Cause
	v, changed := p.verdict.Step(l.cfg.PingInterval+l.cfg.HeartbeatInterval, now, e)
	p.verdict = v
	if !changed {
		return
	}
	text := "both directions work again"
	if v.Cause != health.NoCause {
		text = string(v.Cause) + ": " + v.Detail
	}
	p.events.Add(health.Event{At: now, From: p.machine.State, To: p.machine.State, Reason: text})
	l.cfg.Logger.Warn("why a peer is not heard from", "peer", p.name, "from", string(was), "to", string(v.Cause), "detail", v.Detail)
}

func (l *lead) addCause(s *PeerStatus, p *peer, now time.Time) {
	_, others := l.opinionsOn(p, now)
	for _, o := range others {
		status := OpinionStatus{DC: o.DC, Health: o.State.String()}
		if o.Contact != nil {
			status.Contact = seconds(*o.Contact)
		}
		s.Opinions = append(s.Opinions, status)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Cause, s.CauseDetail = string(p.verdict.Cause), p.verdict.Detail
}

func millisPlusOne(d *time.Duration) uint64 {
	if d == nil {
		return 0
	}
	return uint64(max(0, d.Milliseconds())) + 1
}

func ageFromWire(v uint64) *time.Duration {
	const most = 10 * 365 * 24 * 3600 * 1000 // as a duration it must not overflow
	if v == 0 {
		return nil
	}
	return new(time.Duration(min(v-1, most)) * time.Millisecond)
}

func stateToWire(s health.State) wire.OpinionState {
	switch s {
	case health.Healthy:
		return wire.OpinionState_OPINION_HEALTHY
	case health.Down:
		return wire.OpinionState_OPINION_DOWN
	case health.Recovering:
		return wire.OpinionState_OPINION_RECOVERING
	default:
		return wire.OpinionState_OPINION_SUSPECTED
	}
}

// stateFromWire takes a state that this build does not know for suspected.
func stateFromWire(s wire.OpinionState) health.State {
	switch s {
	case wire.OpinionState_OPINION_HEALTHY:
		return health.Healthy
	case wire.OpinionState_OPINION_DOWN:
		return health.Down
	case wire.OpinionState_OPINION_RECOVERING:
		return health.Recovering
	default:
		return health.Suspected
	}
}
