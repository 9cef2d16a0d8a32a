package dc

import (
	"context"
	"time"

	"geogate/dc/lease"
)

// lessorRound is how often the leader looks for leases whose time is over.
const lessorRound = 100 * time.Millisecond

// lessor revokes leases whose time is over, and checkpoints long ones, while this node leads. A round is
// proposed together and waited for before the next, so what it has in flight is bounded by the rate.
type lessor struct {
	dc     *DC
	most   int // of each kind in a round
	behind bool
}

func (d *DC) runLessor(ctx context.Context) {
	l := lessor{dc: d, most: max(1, int(int64(d.cfg.LeaseRevokesPerSecond)*int64(lessorRound)/int64(time.Second)))}
	for {
		l.rounds(ctx)
		select {
		case <-d.leases.news:
		case <-ctx.Done():
			return
		}
	}
}

// rounds looks until there is nothing to look for.
func (l *lessor) rounds(ctx context.Context) {
	tick := time.NewTicker(lessorRound)
	defer tick.Stop()
	for l.dc.leases.scheduled() || l.behind {
		select {
		case <-tick.C:
			l.round(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (l *lessor) round(ctx context.Context) {
	expired, checkpoints, more := l.dc.leases.due(l.most)
	if more != l.behind {
		l.behind = more
		if more {
			l.dc.log.Warn("more leases end than are revoked at a time; their keys stay a little longer",
				"per_second", l.dc.cfg.LeaseRevokesPerSecond)
		} else {
			l.dc.log.Info("all leases that have ended are revoked")
		}
	}
	if len(expired)+len(checkpoints) == 0 {
		return
	}
	waiting := make([]*pending, len(expired))
	for i, x := range expired {
		c := lease.Command{Op: lease.OpRevoke, Expired: true, Leases: []lease.Lease{{ID: x.ID, Granted: x.Granted}}}
		waiting[i], _ = l.dc.queue.add(item{kind: kindLease, payload: c.Marshal()}) // not led or busy: see below
	}
	if len(checkpoints) > 0 {
		if err := l.dc.checkpoint(ctx, checkpoints); err != nil && ctx.Err() == nil {
			// The next one comes in time; until then a new leader gives these leases more than is left.
			l.dc.log.Warn("leases could not be checkpointed", "leases", len(checkpoints), "error", err)
		}
	}
	for i, p := range waiting {
		if p == nil {
			l.dc.leases.retry(expired[i])
			continue
		}
		if r := l.dc.queue.wait(ctx, p); r.err != nil {
			l.dc.leases.retry(expired[i]) // forgotten at once if the lease is gone, or this node does not lead
			continue
		}
		l.dc.log.Debug("lease has ended", "lease", expired[i].ID, "ttl", expired[i].TTL)
	}
}

// checkpoint commits what is left of leases.
func (d *DC) checkpoint(ctx context.Context, leases []lease.Lease) error {
	c := lease.Command{Op: lease.OpCheckpoint, Leases: leases}
	p, err := d.queue.add(item{kind: kindLease, payload: c.Marshal()})
	if err != nil {
		return err
	}
	return d.queue.wait(ctx, p).err
}
