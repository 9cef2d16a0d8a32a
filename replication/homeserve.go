package replication

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/nats-io/nats.go"

	"geogate/replication/homes"
	"geogate/replication/registrar"
	"geogate/replication/wire"
)

// Exchange sends a command to another DC's acceptor; it makes [lead] a [registrar.Carrier].
func (l *lead) Exchange(ctx context.Context, dc string, c homes.Command) (homes.Reply, error) {
	p := l.peers[dc]
	if p == nil {
		return homes.Reply{}, fmt.Errorf("%w: %q is no peer of %s", ErrNotDelivered, dc, l.cfg.Local)
	}
	k := p.receiver.link.Load()
	if k == nil {
		return homes.Reply{}, p.notConnected()
	}
	req := &wire.RegisterRequest{From: l.cfg.Local, To: dc, Nonce: rand.Uint64(), Command: c.Encode()}
	var reply wire.RegisterReply
	if err := k.request(ctx, homeSubject(dc, l.cfg.Local), wire.Kind_KIND_REGISTER_REQUEST, req, wire.Kind_KIND_REGISTER_REPLY, &reply); err != nil {
		return homes.Reply{}, err
	}
	if reply.From != dc || reply.To != l.cfg.Local || reply.Nonce != req.Nonce {
		return homes.Reply{}, fmt.Errorf("%w: answer to another command", wire.ErrMessage)
	}
	k.r.heard()
	switch reply.Status {
	case wire.RegisterStatus_REGISTER_OK:
		return homes.DecodeReply(reply.Reply)
	case wire.RegisterStatus_REGISTER_NOT_LEADER:
		k.cancel(&redirect{leader: reply.Leader})
		return homes.Reply{}, fmt.Errorf("%w: the node that was asked does not lead %s any more", ErrNotDelivered, dc)
	case wire.RegisterStatus_REGISTER_REFUSED:
		return homes.Reply{}, fmt.Errorf("%w: refused by %s: %s", ErrNotDelivered, dc, reply.Detail)
	}
	return homes.Reply{}, errors.New(reply.Detail)
}

// onRegister takes a command for this DC's acceptor off the wire. It is answered once the Raft group has applied it.
func (e *Engine) onRegister(m *nats.Msg) {
	req := &wire.RegisterRequest{}
	peer, ok := e.verified(m, wire.Kind_KIND_REGISTER_REQUEST, req)
	if !ok || req.From != peer || req.To != e.cfg.Local {
		return
	}
	e.handing.RLock()
	defer e.handing.RUnlock()
	l := e.current.Load()
	reply := &wire.RegisterReply{}
	switch {
	case l == nil && e.embedded == nil:
		return // the leader hears it too
	case l == nil:
		reply.Status, reply.Leader, reply.Detail = wire.RegisterStatus_REGISTER_NOT_LEADER, e.leader(), "this node does not lead"
	case l.registrar == nil:
		reply.Status, reply.Detail = wire.RegisterStatus_REGISTER_REFUSED, e.cfg.Local+" has no single-writer keyspace; is its configuration that of "+peer+"?"
	default:
		select {
		case l.peers[peer].commands <- struct{}{}:
			l.serving.Go(func() {
				defer func() { <-l.peers[peer].commands }()
				l.replyRegister(m, req, l.serveRegister(peer, req))
			})
			return
		default:
			reply.Status, reply.Detail = wire.RegisterStatus_REGISTER_RETRY, "too many commands are under way"
		}
	}
	e.replyRegister(m, req, reply)
}

func (l *lead) serveRegister(peer string, req *wire.RegisterRequest) *wire.RegisterReply {
	c, err := homes.DecodeCommand(req.Command)
	if err != nil {
		l.metrics.refused.WithLabelValues(peer, wire.Kind_KIND_REGISTER_REQUEST.String()).Inc()
		return &wire.RegisterReply{Status: wire.RegisterStatus_REGISTER_REFUSED, Detail: err.Error()}
	}
	reply, err := l.registrar.Serve(l.callCtx, peer, c)
	switch {
	case errors.Is(err, registrar.ErrForbidden), errors.Is(err, registrar.ErrKeyspace):
		l.cfg.Logger.Warn("command of a datacenter refused", "peer", peer, "error", err)
		return &wire.RegisterReply{Status: wire.RegisterStatus_REGISTER_REFUSED, Detail: err.Error()}
	case err != nil:
		return &wire.RegisterReply{Status: wire.RegisterStatus_REGISTER_RETRY, Detail: err.Error()}
	}
	return &wire.RegisterReply{Status: wire.RegisterStatus_REGISTER_OK, Reply: reply.Encode()}
}

func (e *Engine) replyRegister(m *nats.Msg, req *wire.RegisterRequest, reply *wire.RegisterReply) {
	reply.From, reply.To, reply.Nonce = e.cfg.Local, req.From, req.Nonce
	e.send(m, wire.Kind_KIND_REGISTER_REPLY, reply)
}
