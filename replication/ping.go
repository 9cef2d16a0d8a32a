package replication

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"geogate/replication/wire"
)

// pingEvery is the NATS client's own liveness check, where others tell sooner.
const pingEvery = 10 * time.Second

// measure keeps the round trip, the clock skew and the head of the origin's chain up to date.
func (k *link) measure(ctx context.Context) {
	tick := k.r.beat(k.r.cfg.PingInterval)
	defer tick.stop()
	for ctx.Err() == nil {
		k.ping(ctx)
		select {
		case <-tick.C:
			tick.next()
		case <-ctx.Done():
		}
	}
}

func (k *link) ping(ctx context.Context) {
	r := k.r
	req := &wire.Ping{From: r.cfg.Local, To: r.peer.Name, Nonce: rand.Uint64()}
	var pong wire.Pong
	sent, wall, stepped := r.cfg.Clock(), r.cfg.Wall(), r.stepped()
	before := k.socket.arrived.Load()
	err := k.request(ctx, pingSubject(r.peer.Name, r.cfg.Local), wire.Kind_KIND_PING, req, wire.Kind_KIND_PONG, &pong)
	now := r.cfg.Clock()
	if err == nil && pong.From == r.peer.Name && pong.Nonce == req.Nonce {
		r.hear(r.peer.Name, pong.Opinions)
		if epochs := r.readEpochs(pong.Epochs); pong.Leading && r.learnEpochs(r.peers[r.peer.Name], epochs) == nil {
			r.peers[r.peer.Name].noteEpochs(epochs)
		}
	}
	if errors.Is(err, errNoAnswer) && ctx.Err() == nil && k.socket.arrived.Load() == before {
		k.cancel(fmt.Errorf("%w: nothing has come for %s", errDisconnect, now.Sub(sent))) // whatever waits on it would wait for longer
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || pong.From != r.peer.Name || pong.Nonce != req.Nonce {
		r.status.rtt = nil
		k.brief.Store(false) // whoever answers next may be of an older build
		k.macs.Store(false)
		r.unhurried.Store(false)
		return
	}
	k.verifies.Store(pong.Verifies)
	k.brief.Store(pong.TakesBriefAcks)
	k.macs.Store(pong.TakesMacs && r.own().MACs)
	r.unhurried.Store(pong.Unhurried)
	r.status.nodes = pong.Nodes
	rtt := now.Sub(sent)
	r.status.rtt, r.status.heard = &rtt, now
	if pong.Leading {
		offset := time.Unix(0, pong.ClockUnixNano).Sub(wall.Add(rtt / 2))
		r.status.clock = &reading{skew: offset, rtt: rtt, at: now, stepped: stepped}
	}
	r.status.head, r.status.marks = &pong.Revision, pong.Vector
	if why, lacks := r.lacking(pong.Vector); lacks && pong.Leading {
		r.lacks.Store(&why)
	}
	if !pong.Leading {
		k.cancel(&redirect{leader: pong.Leader})
	}
}
