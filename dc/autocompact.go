package dc

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
)

// Compaction says how history is dropped without being asked, as etcd does it. At most one of the two is set;
// the zero value drops none.
type Compaction struct {
	Period    time.Duration // history of so long is kept
	Revisions int64         // so many revisions are kept
}

const (
	// compactStep is the longest time between two compactions of a period, and compactSamples how often the
	// revision is noted meanwhile.
	compactStep    = time.Hour
	compactSamples = 10
	// compactRevisions is how often history is cut to a number of revisions.
	compactRevisions = 5 * time.Minute
	compactTimeout   = 10 * time.Second
)

// compactor decides when to compact to which revision.
type compactor struct {
	Compaction
	samples []int64 // revisions at the last ticks, of a period; the first one is as old as the period
	ticks   int     // since the last compaction
	last    int64   // revision compacted last
}

// interval is the time between two ticks.
func (c *compactor) interval() time.Duration {
	if c.Revisions > 0 {
		return compactRevisions
	}
	return max(min(c.Period, compactStep)/compactSamples, time.Millisecond)
}

// tick takes the present revision; at is where to compact, 0 when it is not time or there is nothing.
func (c *compactor) tick(revision int64) (at int64) {
	if c.Revisions > 0 {
		at = revision - c.Revisions
	} else {
		c.ticks++
		c.samples = append(c.samples, revision)
		window := int(c.Period/c.interval()) + 1
		if over := len(c.samples) - window; over > 0 {
			c.samples = append(c.samples[:0], c.samples[over:]...)
		}
		if len(c.samples) == window && c.ticks >= compactSamples {
			at = c.samples[0]
		}
	}
	if at <= max(c.last, 1) {
		return 0
	}
	return at
}

func (c *compactor) done(at int64) { c.last, c.ticks = at, 0 }

// compactAutomatically runs until ctx ends. Every node notes revisions, so that the next leader goes on where
// this one stopped; only the leader compacts. Other datacenters keep their own history.
func (d *DC) compactAutomatically(ctx context.Context) {
	if d.cfg.Compaction == (Compaction{}) {
		return
	}
	c := compactor{Compaction: d.cfg.Compaction}
	tick := time.NewTicker(c.interval())
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		at := c.tick(d.Revision())
		if _, leading := d.Leading(); at == 0 || !leading {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, compactTimeout)
		_, err := d.Compact(bounded, &pb.CompactionRequest{Revision: at})
		cancel()
		switch {
		case err == nil:
			d.metrics.autoCompactions.WithLabelValues("done").Inc()
			d.log.Info("history was compacted automatically", "revision", at, "period", c.Period, "revisions", c.Revisions)
		case errors.Is(err, store.ErrCompacted): // somebody was faster
		default:
			if ctx.Err() == nil {
				d.metrics.autoCompactions.WithLabelValues("failed").Inc()
				d.log.Warn("history could not be compacted automatically; the next round tries again", "revision", at, "error", err)
			}
			continue
		}
		c.done(at)
	}
}
