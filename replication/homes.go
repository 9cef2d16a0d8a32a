package replication

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"geogate/replication/health"
	"geogate/replication/homes"
	"geogate/replication/registrar"
)

// Standing is what this DC may do with a single-writer keyspace at this moment.
type Standing = registrar.Standing

// registrarFor is the registrar of a term; nil without single-writer keyspaces.
func (e *Engine) registrarFor(l *lead) (*registrar.Registrar, error) {
	if e.cfg.Homes == nil || len(e.cfg.Keyspaces) == 0 {
		return nil, nil //nolint:nilnil // off
	}
	cfg := registrar.Config{
		Local: e.cfg.Local, Voters: e.voters(), Keyspaces: slices.Clone(e.cfg.Keyspaces), Acceptor: e.cfg.Homes, Carrier: l,
		Lease: e.cfg.HomeLease, ExchangeTimeout: e.cfg.RequestTimeout, ReclaimAfter: e.cfg.ReclaimAfter, Point: e.cfg.Point,
		Uptime: e.cfg.Uptime, Clock: e.cfg.Clock, Wall: e.cfg.Wall, Logger: e.cfg.Logger, Metrics: e.metrics.homes,
	}
	return registrar.New(cfg)
}

// voters are all DCs, sorted.
func (e *Engine) voters() []homes.Voter {
	out := []homes.Voter{{DC: e.cfg.Local, Witness: e.cfg.Witness}}
	for _, p := range e.cfg.Peers {
		out = append(out, homes.Voter{DC: p.Name, Witness: p.Witness})
	}
	slices.SortFunc(out, func(a, b homes.Voter) int { return strings.Compare(a.DC, b.DC) })
	return out
}

// Standing says what this DC may do with a keyspace at this moment. Whoever reads under it must ask again after
// reading and before answering.
func (e *Engine) Standing(keyspace string) Standing {
	if l := e.current.Load(); l != nil && l.registrar != nil {
		return l.registrar.Standing(keyspace)
	}
	s := Standing{Keyspace: keyspace, Why: "this node does not lead its datacenter"}
	if e.cfg.Homes != nil {
		if reg, ok := e.cfg.Homes.Register(keyspace); ok {
			s.Home, s.Epoch = reg.State.Decided.Home, reg.State.Decided.Epoch
		}
	}
	return s
}

// Homes is the registrar of this node while it leads; else [ErrNotLeading], or [registrar.ErrKeyspace] when no
// keyspace has a single writer.
func (e *Engine) Homes() (*registrar.Registrar, error) {
	l := e.current.Load()
	switch {
	case l == nil:
		return nil, ErrNotLeading
	case l.registrar == nil:
		return nil, fmt.Errorf("%w: the configuration has none", registrar.ErrKeyspace)
	}
	return l.registrar, nil
}

// AppliedAt is what another DC last acknowledged of a life.
func (l *lead) AppliedAt(dc string, life homes.Life) (int64, bool) {
	p := l.peers[dc]
	if p == nil {
		return 0, false
	}
	p.mu.Lock()
	marks, known := p.marks, p.counted
	p.mu.Unlock()
	for _, w := range marks {
		if w.Origin == life.DC && w.Incarnation == life.Incarnation {
			return w.Revision, true
		}
	}
	return 0, known
}

// LifeOf is the life of another DC that its acks are of.
func (l *lead) LifeOf(dc string) (homes.Life, bool) {
	p := l.peers[dc]
	if p == nil {
		return homes.Life{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return homes.Life{DC: dc, Incarnation: p.ack.incarnation}, !p.contact.IsZero() && p.ack.incarnation != 0
}

// Bring has the links look for what lacks of these tenures, wherever it is kept.
func (l *lead) Bring(tenures []homes.Tenure) {
	l.wantMu.Lock()
	defer l.wantMu.Unlock()
	now, wake := l.cfg.Clock(), false
	for _, t := range tenures {
		w := wanted{home: t.Home, upTo: t.Cut, at: now, woke: now}
		if old := l.wants[t.Home.DC]; old.home == t.Home && old.upTo >= t.Cut && now.Sub(old.woke) < l.cfg.RetryMax {
			w.upTo, w.woke = old.upTo, old.woke
		} else {
			wake = true
		}
		l.wants[t.Home.DC] = w
	}
	if wake {
		l.wakeRelays()
	}
}

// wanted is how far the chain of an origin is needed for a move.
type wanted struct {
	home homes.Life
	upTo int64
	at   time.Time // of the last word
	woke time.Time // when the relays were told
}

// wantsFor is how long a want holds that is not repeated.
const wantsFor = 5 * time.Second

// wantsOf says up to where the chain of an origin is needed now.
func (l *lead) wantsOf(origin string) (homes.Life, int64, bool) {
	l.wantMu.Lock()
	defer l.wantMu.Unlock()
	w, ok := l.wants[origin]
	if !ok || l.cfg.Clock().Sub(w.at) > wantsFor || l.cfg.Homes.AppliedOf(w.home) >= w.upTo {
		return homes.Life{}, 0, false
	}
	return w.home, w.upTo, true
}

// wakeRelays wakes the relays of all links.
func (l *lead) wakeRelays() {
	for _, p := range l.peers {
		if k := p.receiver.link.Load(); k != nil {
			select {
			case k.wanted <- struct{}{}:
			default:
			}
		}
	}
}

// Down says whether a majority of the DCs holds another one to be down, this one included.
func (l *lead) Down(dc string) (bool, string) {
	p := l.peers[dc]
	if p == nil {
		return false, ""
	}
	var say []string
	p.mu.Lock()
	if p.machine.State == health.Down {
		say = append(say, l.cfg.Local)
	}
	p.mu.Unlock()
	if len(say) == 0 {
		return false, ""
	}
	_, others := l.opinionsOn(p, l.cfg.Clock())
	for _, o := range others {
		if o.State == health.Down {
			say = append(say, o.DC)
		}
	}
	c := homes.Config{Self: l.cfg.Local, Voters: l.voters()}
	return len(say) >= c.Majority(), strings.Join(say, ", ")
}

// learnEpochs has the own acceptor learn the decisions that a peer tells of. Until that is done, nothing else that it
// tells may count.
func (l *lead) learnEpochs(p *peer, epochs map[string]uint64) error {
	if l.registrar == nil {
		return nil
	}
	for keyspace, epoch := range epochs {
		if reg, _ := l.cfg.Homes.Register(keyspace); reg.State.Decided.Epoch >= epoch || !l.hasKeyspace(keyspace) {
			continue
		}
		ctx, cancel := context.WithTimeout(l.callCtx, 2*l.cfg.RequestTimeout)
		err := l.registrar.Learn(ctx, p.name, keyspace, epoch)
		cancel()
		if err != nil {
			return fmt.Errorf("%w: of keyspace %q: %w", errAckEpoch, keyspace, err)
		}
	}
	return nil
}

func (l *lead) hasKeyspace(prefix string) bool {
	return slices.ContainsFunc(l.cfg.Keyspaces, func(k registrar.Keyspace) bool { return k.Prefix == prefix })
}
