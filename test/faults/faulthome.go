//go:build linux

package main

import (
	"context"
	"math/rand/v2"
	"time"
)

// moveWithin is how long a move of the nemesis may try.
const moveWithin = 10 * time.Second

// moveHome moves the home, as planned or as if it were lost, whatever else is wrong at that time.
func moveHome(c *cluster, rnd *rand.Rand) fault {
	to, planned := pick(rnd, c.dcs), rnd.IntN(3) > 0
	args, what := []string{"failover", "--keyspace", homePrefix, "--deadline", "5s"}, "failover of "+homePrefix+" to "+to
	if planned {
		args, what = []string{"switchover", "--keyspace", homePrefix, "--to", to, "--deadline", "5s"}, "switchover of "+homePrefix+" to "+to
	}
	done := make(chan struct{})
	return fault{
		what: what,
		begin: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, moveWithin)
			go func() {
				defer close(done)
				defer cancel()
				_, _ = c.dr(ctx, c.leader(ctx, to), args...) // it may be refused, or be there already
			}()
			return nil
		},
		end: func() error { <-done; return nil },
	}
}

// killHome kills all of the datacenter that is home at that time.
func killHome(c *cluster, _ *rand.Rand) fault {
	return onNodes("kill -9 of all of the home of "+homePrefix, func(ctx context.Context) []*node {
		if home, _ := c.home(ctx, c.living()...); home != "" {
			return c.in(home)
		}
		return c.in(c.dcs[0])
	}, (*node).kill, (*node).start)
}
