package dc

import (
	"context"
	"errors"
	"time"

	"geogate/consensus"
)

// A node that was relieved of the leadership because its disk is nearly full, and leads again, keeps it for
// handOverInterval: where all disks are like that it goes round at this pace, and puts are refused wherever it is. When
// nobody took over, it tries again after handOverRetry.
const (
	handOverInterval = 30 * time.Second
	handOverRetry    = 2 * time.Second
)

// watchSpace looks at the disk until ctx ends. Only a leader refuses puts, so one that has to gives its office away: a
// single full disk must not cost a datacenter its writes.
func (d *DC) watchSpace(ctx context.Context) {
	tick := time.NewTicker(d.cfg.SpaceInterval)
	defer tick.Stop()
	var next time.Time
	for {
		d.space.look()
		low := d.space.low.Load()
		if !low {
			d.space.kept = false
		}
		if _, leads := d.Leading(); leads && low && time.Now().After(next) {
			next = time.Now().Add(d.handOver(ctx))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// handOver makes the follower that lags least the leader. It returns when that may be done again.
func (d *DC) handOver(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, handOverInterval)
	defer cancel()
	err := d.node.TransferLeadership(ctx, 0)
	if err == nil {
		d.cfg.Logger.Warn("another node leads now, because the disk here is nearly full", "dir", d.space.dir, "free_bytes", d.space.left.Load())
		return handOverInterval
	}
	if !errors.Is(err, consensus.ErrNotLeader) && ctx.Err() == nil && !d.space.kept {
		d.space.kept = true
		d.cfg.Logger.Warn("the disk is nearly full, and no other node could take over the leadership", "dir", d.space.dir, "error", err)
	}
	return handOverRetry
}
