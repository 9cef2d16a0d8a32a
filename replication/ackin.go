package replication

import (
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"

	"geogate/replication/wire"
)

// Reasons for an ack not to count.
var (
	errAckSender      = errors.New("the sender is not who the subject says")
	errAckReceiver    = errors.New("it is meant for another datacenter")
	errAckIncarnation = errors.New("it is about another incarnation of this datacenter")
	errAckStale       = errors.New("a later ack was there already")
	errAckPast        = errors.New("it is of an incarnation of the sender that has ended")
	errAckAhead       = errors.New("it confirms what was never committed here")
	errAckEpoch       = errors.New("it tells of a decision on a home that could not be learnt yet")
	errAckHash        = errors.New("it confirms another frame than the one committed here")
)

// pastIncarnations bounds how many ended incarnations of a peer are remembered.
const pastIncarnations = 16

// onAck takes an ack of a peer off the wire. The server lets only that peer publish on the subject. An ack
// that still waits is replaced: the newest says all, so a flood of them costs no more than what can be
// verified.
func (l *lead) onAck(m *nats.Msg) {
	p := l.peers[l.byToken[lastToken(m.Subject)]]
	if p == nil {
		return
	}
	for {
		select {
		case p.acks <- m.Data:
			return
		default:
		}
		select {
		case <-p.acks:
		default:
		}
	}
}

// countAcks verifies and counts the acks of a peer. A flood must not keep a core busy with signatures and MACs: twice what a
// peer with this configuration sends is counted.
func (l *lead) countAcks(ctx context.Context, p *peer) {
	spaced := rate.NewLimiter(rate.Every(l.cfg.AckMinInterval/2), 2*l.cfg.AckBurst)
	for {
		select {
		case b := <-p.acks:
			l.countAck(p, b)
			if err := spaced.Wait(ctx); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// countAck takes one ack. The signature, or the MAC, says whose it is, even where the server can't be relied on.
func (l *lead) countAck(p *peer, b []byte) {
	var ack wire.Ack
	err := l.verifiers[p.name].Open(wire.Kind_KIND_ACK, b, &ack)
	if err == nil {
		err = l.takeAck(p, &ack)
	}
	if err == nil {
		l.metrics.acksReceived.WithLabelValues(p.name).Inc()
		l.step(p)
		return
	}
	l.metrics.acksRefused.WithLabelValues(p.name).Inc()
	if !errors.Is(err, errAckStale) {
		l.warnOnce(p, "ack refused", err)
	}
}

// warnOnce says the same about a peer's acks only once in a row.
func (l *lead) warnOnce(p *peer, msg string, err error) {
	p.mu.Lock()
	said := p.warned == err.Error()
	p.warned = err.Error()
	p.mu.Unlock()
	if !said {
		l.cfg.Logger.Warn(msg, "peer", p.name, "error", err)
	}
}

func (l *lead) takeAck(p *peer, ack *wire.Ack) error {
	if ack.From != p.name {
		return errAckSender
	}
	if ack.To != l.cfg.Local {
		return errAckReceiver
	}
	at, err := ack.Position.In(l.cfg.Local)
	if err != nil {
		return err
	}
	if err := l.orderAck(p, ackOrder{incarnation: ack.Incarnation, term: ack.Term, seq: ack.Seq}); err != nil {
		return err
	}
	fresh := at.Incarnation == 0 && at.Revision == 0
	if !fresh && at.Incarnation != l.cfg.Incarnation() {
		return errAckIncarnation
	}
	if head := l.cfg.Chain.Position(l.cfg.Local); at.Revision > head.Revision {
		return errAckAhead
	} else if at.Revision == head.Revision && at.Hash != head.Hash && !ack.Limited {
		return errAckHash
	}
	if hash, ok := l.outbox.hashOf(at.Revision); ok && hash != at.Hash && !ack.Limited {
		return errAckHash
	}
	epochs := l.readEpochs(ack.Epochs)
	if err := l.learnEpochs(p, epochs); err != nil {
		return err
	}
	p.noteEpochs(epochs)
	l.settle()
	p.mu.Lock()
	if p.warned = ""; !ack.Brief {
		p.marks, p.counted = ack.Vector, true
	}
	p.mu.Unlock()
	l.tracker.Ack(p.name, at.Revision)
	l.hear(p.name, ack.Opinions)
	return nil
}

// orderAck drops an ack that is older than one before, so that a late or repeated one neither moves a
// watermark back nor passes for a sign of life. A new incarnation starts over.
func (l *lead) orderAck(p *peer, o ackOrder) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.ack
	if o.incarnation != last.incarnation {
		if slices.Contains(p.past, o.incarnation) {
			return errAckPast
		}
		if !p.contact.IsZero() {
			p.past = append(p.past, last.incarnation)
			p.past = p.past[max(0, len(p.past)-pastIncarnations):]
			p.marks, p.counted = nil, false
			l.tracker.Forget(p.name)
			l.cfg.Logger.Warn("peer has begun a new incarnation", "peer", p.name)
		}
	} else if !p.contact.IsZero() && (o.term < last.term || (o.term == last.term && o.seq <= last.seq)) {
		return errAckStale
	}
	p.ack, p.contact = o, l.cfg.Clock()
	return nil
}
