//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

const (
	largeValues = 4
	largeBytes  = 400 << 10 // takes seconds on the slow link
	largeWithin = 90 * time.Second
	largeBits   = 1_000_000
)

// slowLargeRow writes values that take longer on a slow link than the silence after which a connection counts
// as dead. They have to get there while the link is slow: the other way round it would be a stall.
func slowLargeRow() row {
	return row{name: "slow-large", must: "large values cross a link of 300 ms, 1 % loss and 1 Mbit/s while it is so", play: func(ctx context.Context, s *stage) error {
		from, to := s.c.dcs[0], s.c.dcs[1]
		conditions := slow()
		conditions.BitsPerSecond = largeBits
		f := onLinks(s.c, from+" and "+to, conditions, append(both(s.c, from, to), both(s.c, s.c.dcs[2], to)...)...)
		s.say("nemesis: %s", f.what)
		if err := f.begin(ctx); err != nil {
			return err
		}
		rnd := rand.New(rand.NewPCG(s.cfg.Seed, 5))
		began := time.Now()
		var last string
		for i := range largeValues {
			last = fill(rnd, largeBytes)
			for ctx.Err() == nil && !s.c.put(ctx, from, fmt.Sprintf("large/%d", i), last) {
				pauseFor(ctx, failurePause)
			}
		}
		wctx, cancel := context.WithTimeout(ctx, largeWithin)
		defer cancel()
		arrived := false
		for wctx.Err() == nil && !arrived {
			arrived = s.c.has(wctx, to, fmt.Sprintf("large/%d", largeValues-1), last)
			pauseFor(wctx, 100*time.Millisecond)
		}
		took := time.Since(began)
		var late []string
		if !arrived {
			late = append(late, fmt.Sprintf("%d values of %d KiB had not come from %s to %s after %s; sessions: %s", largeValues, largeBytes>>10, from, to,
				took.Round(time.Second), strings.Join(s.c.pullsEnded(to), ", ")))
		}
		s.v.check("large values cross a slow link", fmt.Sprintf("%d of %d KiB in %.1fs, may be %s", largeValues, largeBytes>>10, took.Seconds(), largeWithin), late)
		s.slowest = max(s.slowest, took)
		if err := f.end(); err != nil {
			return err
		}
		return s.recover(ctx, f.what)
	}}
}

// pullsEnded counts why a datacenter's pulls ended, by its logs.
func (c *cluster) pullsEnded(dc string) (out []string) {
	counts := map[string]int{}
	for _, n := range c.in(dc) {
		for line := range strings.Lines(whole(n.log)) {
			if _, why, ok := strings.Cut(line, `msg="pull ended"`); ok {
				_, why, _ = strings.Cut(why, "error=")
				counts[strings.TrimSpace(why)]++
			}
		}
	}
	for why, n := range counts {
		out = append(out, fmt.Sprintf("%d times %s", n, why))
	}
	return out
}
