package replication

import (
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"geogate/replication/wire"
)

// onSync takes a handshake. An embedded server that does not lead says who does; with external NATS every
// node hears every request, and only the leader speaks.
func (e *Engine) onSync(m *nats.Msg) {
	var req wire.SyncRequest
	peer, ok := e.verified(m, wire.Kind_KIND_SYNC_REQUEST, &req)
	if !ok || req.From != peer || req.To != e.cfg.Local {
		return
	}
	if e.hand(peer, syncJob{msg: m, req: &req}) || e.embedded == nil {
		return
	}
	e.respond(m, e.notLeading(peer, req.Nonce))
}

// hand gives a handshake to the lead, if there is one.
func (e *Engine) hand(peer string, j syncJob) bool {
	e.handing.RLock()
	defer e.handing.RUnlock()
	l := e.current.Load()
	if l != nil {
		l.peers[peer].source.offer(j)
	}
	return l != nil
}

func (e *Engine) notLeading(peer string, nonce uint64) *wire.SyncReply {
	reply := e.replyTo(peer, nonce)
	reply.Status, reply.Leader, reply.Detail = wire.SyncStatus_SYNC_NOT_LEADER, e.leader(), "this node does not lead"
	return reply
}

func (e *Engine) replyTo(peer string, nonce uint64) *wire.SyncReply {
	return &wire.SyncReply{From: e.cfg.Local, To: peer, Nonce: nonce, Vector: e.watermarks(), Nodes: e.ownNodes(), TakesMacs: e.own().MACs}
}

func (e *Engine) respond(m *nats.Msg, reply *wire.SyncReply) {
	e.send(m, wire.Kind_KIND_SYNC_REPLY, reply)
}

// onPing answers with this DC's clock and the head of its chain. A node that does not lead says so: a peer
// that still pulls from it must go elsewhere.
func (e *Engine) onPing(m *nats.Msg) {
	var ping wire.Ping
	peer, ok := e.verified(m, wire.Kind_KIND_PING, &ping)
	leading := e.current.Load() != nil
	if !ok || ping.From != peer || ping.To != e.cfg.Local || (!leading && e.embedded == nil) {
		return
	}
	limits := e.ackLimits()
	e.send(m, wire.Kind_KIND_PONG, &wire.Pong{
		From: e.cfg.Local, To: peer, Nonce: ping.Nonce, ClockUnixNano: e.cfg.Wall().UnixNano(),
		Incarnation: e.cfg.Incarnation(), Revision: e.cfg.Chain.Position(e.cfg.Local).Revision,
		Leading: leading, Leader: e.leader(), Vector: e.watermarks(),
		Verifies: e.cfg.Verified != nil, TakesBriefAcks: true, TakesMacs: e.own().MACs,
		Opinions: e.told(), Unhurried: leading && e.awaits.quiet(e.cfg.Clock()) && !limits.moving(),
		Epochs: limits.epochs(),
		Nodes:  e.ownNodes(),
	})
}

func (e *Engine) send(m *nats.Msg, kind wire.Kind, reply proto.Message) {
	b, err := e.signer.Seal(kind, reply)
	if err == nil {
		err = m.Respond(b)
	}
	if err != nil {
		e.cfg.Logger.Warn("answer a peer", "kind", kind.String(), "error", err)
	}
}

// verified opens a message with the key of the peer that its subject names.
func (e *Engine) verified(m *nats.Msg, kind wire.Kind, into proto.Message) (peer string, ok bool) {
	peer, known := e.byToken[lastToken(m.Subject)]
	if !known {
		return "", false
	}
	if err := e.verifiers[peer].Open(kind, m.Data, into); err != nil {
		e.metrics.refused.WithLabelValues(peer, kind.String()).Inc()
		e.cfg.Logger.Warn("message of a peer refused", "peer", peer, "kind", kind.String(), "error", err)
		return "", false
	}
	return peer, true
}
