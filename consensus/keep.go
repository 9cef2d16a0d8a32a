package consensus

import (
	"math"
	"time"

	"go.etcd.io/etcd/raft/v3"
	"go.etcd.io/etcd/raft/v3/tracker"
)

// What is durable in the state machine stays in the log in memory only for followers that lag, because what they
// would get instead is a snapshot, which costs as much as the state machine is large. So there are three bounds,
// and entries that are not durable yet count towards them but are never dropped:
//
//	while a follower ...                              at most
//	is being sent a snapshot and needs what follows   SnapshotHoldBytes
//	lags, and has answered within CatchUpGrace        SnapshotCatchUpBytes
//	is away for longer, or may be some day            catchUpBytes
//
// Only a leader knows its followers. The others keep what is for one that is away, so that it finds that much
// with the next leader.

// catchUpBytes is how much log is worth to be kept for a follower that is away, when a copy has a size.
func (c *Config) catchUpBytes(size int64) int64 {
	keep := max(size/int64(c.SnapshotCatchUpShare), int64(c.SnapshotCatchUpMinBytes))
	return min(keep, int64(c.SnapshotCatchUpBytes))
}

// shrink drops from memory what no follower is likely to need.
func (l *loop) shrink(d *position) error {
	keep := l.cfg.catchUpBytes(d.size)
	bound := keep
	wanted := d.index // what is behind it is wanted by somebody
	if lag := l.lagging(); lag < wanted {
		wanted, bound = lag, int64(l.cfg.SnapshotCatchUpBytes)
	}
	for _, p := range l.transport.peers() {
		if h := p.hold.Load(); h > 0 && h < d.index {
			wanted, bound = min(wanted, h), int64(l.cfg.SnapshotHoldBytes)
		}
	}
	if err := l.mem.shrink(wanted, keep); err != nil || wanted == d.index {
		return err
	}
	return l.mem.shrink(d.index, bound)
}

// lagging is the lowest index that a follower which answers has confirmed; the highest number when there is none,
// as on a node that does not lead.
func (l *loop) lagging() uint64 {
	lowest := uint64(math.MaxUint64)
	l.raft.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if id != l.cfg.NodeID && time.Since(l.heard[id]) < l.cfg.CatchUpGrace {
			lowest = min(lowest, pr.Match)
		}
	})
	return lowest
}
