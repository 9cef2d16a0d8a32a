package replication

import (
	"math"
	"slices"

	"geogate/replication/homes"
	"geogate/replication/wire"
)

// ackLimits lowers what leaves this DC as applied, while moves of homes are open: see "States of an acceptor" in
// homes/README.md. It must be made AFTER the watermarks that it lowers were read: a promise that is applied in
// between then lowers them, and one that is applied later answers for what they say.
type ackLimits struct {
	registers []homes.Register
	origin    func(dc, keyspace string) uint64 // the epoch that an origin is known to have learnt
}

func (e *Engine) ackLimits() ackLimits {
	if e.cfg.Homes == nil {
		return ackLimits{}
	}
	return ackLimits{registers: e.cfg.Homes.Registers(), origin: e.epochOf}
}

// epochOf is the epoch of a keyspace that a DC is known to have learnt; 0 when nothing is known.
func (e *Engine) epochOf(dc, keyspace string) uint64 {
	l := e.current.Load()
	if l == nil || l.peers[dc] == nil {
		return 0
	}
	p := l.peers[dc]
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epochs[keyspace]
}

// lower is the watermark of a life as it may be told.
func (a ackLimits) lower(local string, life homes.Life, revision int64) int64 {
	for i := range a.registers {
		r := &a.registers[i]
		origin := r.State.Decided.Epoch // of the own chain
		if life.DC != local {
			origin = a.origin(life.DC, r.Keyspace)
		}
		if limit, ok := r.State.AckLimit(life, origin); ok {
			revision = min(revision, limit)
		}
	}
	return revision
}

// lowerMarks lowers the marks of present lives. One that has ended counts no acks any more.
func (a ackLimits) lowerMarks(local string, marks []*wire.Watermark) {
	if len(a.registers) == 0 {
		return
	}
	for _, w := range marks {
		if !w.Past {
			w.Revision = a.lower(local, homes.Life{DC: w.Origin, Incarnation: w.Incarnation}, w.Revision)
		}
	}
}

// moving says that a home is on its way to another DC, which may have to come nearer first.
func (a ackLimits) moving() bool {
	return slices.ContainsFunc(a.registers, func(r homes.Register) bool { return r.State.Draining || r.State.Fenced() })
}

// epochs are what this DC has learnt, for acks and heartbeats.
func (a ackLimits) epochs() []*wire.KeyspaceEpoch {
	var out []*wire.KeyspaceEpoch
	for i := range a.registers {
		r := &a.registers[i]
		if r.State.Decided.Epoch > 0 {
			out = append(out, &wire.KeyspaceEpoch{Keyspace: r.Keyspace, Epoch: r.State.Decided.Epoch})
		}
	}
	return out
}

// position lowers a position for an ack; lowered, it is no place in the chain and has no hash.
func (a ackLimits) position(local, origin string, p *wire.Position) (limited bool) {
	limit := a.lower(local, homes.Life{DC: origin, Incarnation: p.Incarnation}, math.MaxInt64)
	if limit >= p.Revision {
		return false
	}
	p.Revision, p.Hash = limit, nil
	return true
}

// noteEpochs keeps what a peer has learnt. A message may come late: they only grow.
func (p *peer) noteEpochs(epochs map[string]uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, e := range epochs {
		if p.epochs == nil {
			p.epochs = map[string]uint64{}
		}
		p.epochs[k] = max(p.epochs[k], e)
	}
}

// readEpochs takes a peer's epochs of keyspaces that exist here; nobody makes the map grow.
func (l *lead) readEpochs(list []*wire.KeyspaceEpoch) map[string]uint64 {
	out := map[string]uint64{}
	for _, x := range list {
		if l.hasKeyspace(x.Keyspace) {
			out[x.Keyspace] = x.Epoch
		}
	}
	return out
}
