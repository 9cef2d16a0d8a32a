package replication

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"geogate/replication/wire"
)

// tries is how many new connections are begun in the time that one may take.
const tries = 3

// renew is called when a ping had no answer although messages come: what this node sends may be stuck, and TCP
// doubles its pause with each try, so that after some seconds it goes on seconds after the way is free again. A new
// connection has no such past. It is tried again and again beside the present one, which is given up only once
// the new one has had an answer and a ping that was sent on the present one before has had none: on a link that
// is merely slow or full, both wait behind the same data.
func (k *link) renew(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer stop()
	for ctx.Err() == nil {
		asking.Go(func() {
			if k.ask(ctx) {
				stop()
			}
		})
		asking.Go(func() {
			if k.tryAnew(ctx) && ctx.Err() == nil {
				k.cancel(fmt.Errorf("%w: requests get no answer on it, and on a new one they do", errDisconnect))
			}
		})
		pause(ctx, k.r.cfg.DialTimeout/tries)
	}
}

// ask sends a ping and says whether an answer came; what it says is for [link.ping].
func (k *link) ask(ctx context.Context) bool {
	var pong wire.Pong
	req := &wire.Ping{From: k.r.cfg.Local, To: k.r.peer.Name, Nonce: rand.Uint64()}
	err := k.request(ctx, pingSubject(k.r.peer.Name, k.r.cfg.Local), wire.Kind_KIND_PING, req, wire.Kind_KIND_PONG, &pong)
	return err == nil && pong.Nonce == req.Nonce
}

// tryAnew connects to where the link leads and says whether a ping is answered there.
func (k *link) tryAnew(ctx context.Context) bool {
	other, err := k.r.dialTo(ctx, k.endpoint)
	if err != nil {
		return false // as the link itself
	}
	defer other.close()
	ctx, cancel := context.WithTimeout(ctx, k.r.cfg.DialTimeout)
	defer cancel()
	return other.ask(ctx)
}
