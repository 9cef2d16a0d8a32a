//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

const relayed = "relay has brought all there is"

// originLostRow loses a datacenter for good at a moment when only one other one has the end of what it wrote.
func originLostRow() row {
	return row{
		name: "origin-lost", must: "what one survivor has of a datacenter that is gone for good, all have: by relay, and without holes",
		play: func(ctx context.Context, s *stage) error {
			gone, has, lacks := s.c.dcs[0], s.c.dcs[1], s.c.dcs[2]
			f := onLinks(s.c, gone+" and "+lacks, cutConditions, both(s.c, gone, lacks)...)
			if err := s.hold(ctx, 4*time.Second, f); err != nil { // once with its return
				return err
			}
			s.say("nemesis: %s", f.what)
			if err := f.begin(ctx); err != nil {
				return err
			}
			pauseFor(ctx, 3*time.Second)
			s.say("nemesis: %s is gone for good", gone)
			s.c.lose(gone)
			began := time.Now()
			if err := s.relayed(ctx, gone, has, lacks); err != nil {
				return err
			}
			took := time.Since(began)
			s.slowest = max(s.slowest, took)
			s.say("%s has from %s what that has of %s after %.2fs", lacks, has, gone, took.Seconds())
			if s.c.logged(lacks, relayed) == 0 {
				return fmt.Errorf("%w: %s did not relay", errNotMet, has)
			}
			if err := s.recover(ctx, gone+" was lost"); err != nil {
				return err
			}
			pauseFor(ctx, 3*time.Second)
			return ctx.Err()
		},
	}
}

// lose kills a datacenter that never comes back.
func (c *cluster) lose(dc string) {
	for _, n := range c.in(dc) {
		n.kill()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = append(c.lost, dc)
}

// relayed waits until two datacenters have the same of a third.
func (s *stage) relayed(ctx context.Context, gone, has, lacks string) error {
	var a, b int64
	deadline := time.Now().Add(s.cfg.Recover)
	for {
		x, xerr := s.c.status(ctx, s.c.leader(ctx, has))
		y, yerr := s.c.status(ctx, s.c.leader(ctx, lacks))
		if xerr == nil && yerr == nil {
			a, b = x.Vector[gone], y.Vector[gone]
			if a == b {
				return nil
			}
		}
		if time.Now().After(deadline) {
			s.problems = append(s.problems, fmt.Sprintf("%s is at %d of %s, %s at %d, %s after it was lost", lacks, b, gone, has, a, s.cfg.Recover))
			return nil
		}
		pauseFor(ctx, 20*time.Millisecond)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
