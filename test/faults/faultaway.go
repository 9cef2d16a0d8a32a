//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

const (
	fillerPrefix = "filler/" // few keys, large values
	fillerKeys   = 16
	fillerBytes  = 32 << 10
	awayWithin   = 30 * time.Second
)

// away keeps a datacenter away for longer than the others keep frames for it, and it frames for them: behind
// that there is only a snapshot.
func away(c *cluster, rnd *rand.Rand) fault {
	dc := pick(rnd, c.dcs)
	f := onLinks(c, dc+" and all others until frames don't lead back", cutConditions, around(c, dc)...)
	cut, seed := f.begin, rnd.Uint64()
	f.begin = func(ctx context.Context) error {
		if err := cut(ctx); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, awayWithin)
		defer cancel()
		c.passRetention(ctx, dc, rand.New(rand.NewPCG(seed, 0)))
		return nil // with other faults at the same time it may not come to that; who needs it looks by itself
	}
	return f
}

// passRetention writes in every datacenter until all others say of dc, and it of them, that they need a
// snapshot.
func (c *cluster) passRetention(ctx context.Context, dc string, rnd *rand.Rand) bool {
	for ctx.Err() == nil {
		var wg sync.WaitGroup
		for _, d := range c.living() {
			text := fill(rnd, fillerBytes)
			wg.Go(func() {
				for i := range fillerKeys {
					c.put(ctx, d, fmt.Sprintf("%s%s/%02d", fillerPrefix, d, i), text)
				}
			})
		}
		wg.Wait()
		if c.behind(ctx, dc) {
			return true
		}
		pauseFor(ctx, 200*time.Millisecond)
	}
	return false
}

// put writes in a datacenter, through whichever node takes it; nobody relies on it.
func (c *cluster) put(ctx context.Context, dc, key, text string) bool {
	for _, n := range c.in(dc) {
		if _, err := c.conns[n].put(ctx, key, text, "ASYNC"); err == nil {
			return true
		}
	}
	return false
}

// behind says whether frames no longer lead from any datacenter to dc, nor from dc to any.
func (c *cluster) behind(ctx context.Context, dc string) bool {
	for _, d := range c.living() {
		s, err := c.status(ctx, c.leader(ctx, d))
		if err != nil {
			return false
		}
		for _, p := range s.Peers {
			if (d == dc || p.DC == dc) && p.NeedsSnapshot == "" && !c.isLost(p.DC) {
				return false
			}
		}
	}
	return true
}

// logged counts the lines of a datacenter's logs that say something.
func (c *cluster) logged(dc, words string) (count int) {
	for _, n := range c.in(dc) {
		count += strings.Count(whole(n.log), words)
	}
	return count
}
