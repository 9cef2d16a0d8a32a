package replication

import (
	"context"
)

// waitHeld waits, after a frame was answered with event.ErrHeld, until something else has been applied here: what the
// frame waits for, a decision on a keyspace or frames of another origin, comes that way. Other origins go on
// meanwhile. It returns at most once in RetryMax, so a busy datacenter doesn't pull the same frame all the time.
func (r *receiver) waitHeld(ctx context.Context, k *link) {
	changed := r.cfg.Chain.Changed()
	pause(ctx, r.cfg.RetryMax)
	select {
	case <-changed:
	case <-k.lost.Done():
	case <-ctx.Done():
	}
}
