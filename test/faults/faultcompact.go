//go:build linux

package main

import (
	"context"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// keptRevisions is how much history a compaction leaves.
const keptRevisions = 50

// compact throws away a datacenter's history again and again, up to where all watchers have come: what they
// are still to see may not go.
func compact(c *cluster, rnd *rand.Rand) fault {
	dc := pick(rnd, c.dcs)
	return repeated("compactions of "+dc, fault{
		begin: func(ctx context.Context) error {
			c.compact(ctx, dc, c.seen(dc)-keptRevisions)
			return nil
		},
		end: func() error { return nil },
	}, pauses(rnd, 50*time.Millisecond, 400*time.Millisecond), []time.Duration{0})
}

// compaction is how far a datacenter was told to throw its history away.
type compaction struct {
	asked int64 // at most
	done  int64 // what was answered
}

// compact asks the nodes of a datacenter, one after the other, until one answers.
func (c *cluster) compact(ctx context.Context, dc string, revision int64) {
	c.mu.Lock()
	now := c.compactions[dc]
	if revision <= now.asked {
		c.mu.Unlock()
		return
	}
	now.asked = revision
	c.compactions[dc] = now
	c.mu.Unlock()
	for _, n := range c.in(dc) {
		rctx, cancel := context.WithTimeout(ctx, time.Second)
		_, err := c.conns[n].rpc.Compact(rctx, &pb.CompactionRequest{Revision: revision})
		cancel()
		if err == nil {
			c.mu.Lock()
			now := c.compactions[dc]
			now.done = max(now.done, revision)
			c.compactions[dc] = now
			c.mu.Unlock()
			return
		}
	}
}

// compacted is how far a datacenter's history is gone.
func (c *cluster) compacted(dc string) compaction {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.compactions[dc]
}
