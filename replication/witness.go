package replication

import (
	"context"
	"fmt"
)

// attend keeps a link to a witness, or of a witness: commands, calls, heartbeats and opinions go over it, no frames.
// What finds the leader is a ping, for a handshake would open a pull.
func (r *receiver) attend(ctx context.Context, k *link) (moved bool, err error) {
	k.ping(ctx)
	if !k.up() {
		return false, context.Cause(k.lost)
	}
	r.mu.Lock()
	answered := r.status.rtt != nil
	r.mu.Unlock()
	if !answered {
		return false, fmt.Errorf("ping of %s: %w", r.peer.Name, errNoAnswer)
	}
	k.lead()
	r.set(ReceiverWitness, "no data is exchanged with a witness")
	select {
	case <-k.lost.Done():
		return true, context.Cause(k.lost)
	case <-ctx.Done():
		return true, ctx.Err()
	}
}
