//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"geogate/test/faults/check"
)

const (
	voteBack  = 15 * time.Second // until a replaced datacenter has its vote, with all others there
	noVoteFor = 12 * time.Second // that is looked whether two open a home without what they lack; a failover begins before
)

// homeReplacedRow loses a datacenter's disks under load, and starts it anew: once while all is well, and once when it was the
// only one beside the home that had the last writes, and the home goes with it.
func homeReplacedRow() row {
	return homeRow("home-replaced", fmt.Sprintf("a datacenter that begins anew with empty disks gets its vote within %s, and decides nothing without what its predecessor had acknowledged", voteBack),
		true, playReplaced)
}

func playReplaced(ctx context.Context, s *stage, h *homeLoad) error {
	home, third, victim := s.c.dcs[0], s.c.dcs[1], s.c.dcs[2]
	s.c.replaced = victim // its watchers lose their history
	s.c.killAll(victim)
	if err := s.anew(victim); err != nil {
		return err
	}
	began := time.Now()
	if err := s.waitVote(ctx, victim, voteBack); err != nil {
		return err
	}
	s.say("%s has its vote %.2fs after it was started with empty disks", victim, time.Since(began).Seconds())
	if err := h.waitAcks(ctx, 50, homeSettle, s.c.holding()...); err != nil {
		return err
	}

	// What is acknowledged now, the home and the victim have, and nobody else.
	s.c.set(cutConditions, around(s.c, third)...)
	cut := time.Now()
	pauseFor(ctx, time.Second)
	s.c.killAll(victim)
	s.c.killAll(home)
	without := 0
	for _, p := range h.told() {
		if p.Outcome == check.Acked && !p.degraded && p.began.After(cut) {
			without++
		}
	}
	s.say("kill -9 of all of %s and %s, 1s after the links of %s", victim, home, third)
	s.need("keys were acknowledged that the third datacenter lacks", fmt.Sprint(without), without > 0, "none, so this run shows nothing")
	if err := s.anew(victim); err != nil {
		return err
	}
	s.c.heal(around(s.c, third)...)
	if err := s.nobodyOpens(ctx, third, victim); err != nil {
		return err
	}
	s.show(ctx, victim)
	for _, n := range s.c.in(home) {
		if err := n.start(); err != nil {
			return err
		}
	}
	began = time.Now()
	next, epoch, err := s.c.waitAnyHome(ctx, 1, 2*s.cfg.Recover, s.c.dcs...)
	if err != nil {
		return err
	}
	s.say("%s is home in epoch %d, %.2fs after %s was started", next, epoch, time.Since(began).Seconds(), home)
	if err := s.waitVote(ctx, victim, voteBack); err != nil {
		return err
	}
	return h.waitAcks(ctx, 20, homeSettle, s.c.holding()...)
}

// anew starts a datacenter that is down with empty disks.
func (s *stage) anew(dc string) error {
	for _, n := range s.c.in(dc) {
		if err := wipe(n); err != nil {
			return err
		}
	}
	for _, n := range s.c.in(dc) {
		if err := n.start(); err != nil {
			return err
		}
	}
	s.say("%s begins anew with empty disks", dc)
	return nil
}

// waitVote waits until a datacenter knows the home and has a vote on the next one.
func (s *stage) waitVote(ctx context.Context, dc string, within time.Duration) error {
	deadline := time.Now().Add(within)
	for {
		st, err := s.c.homeAt(ctx, dc)
		if err == nil && st.Epoch > 0 && !st.Barred {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%w: %s has no vote after %s: %s, %v", errNotMet, dc, within, st.BarredWhy, err)
		}
		pauseFor(ctx, 20*time.Millisecond)
	}
}

// nobodyOpens waits for the failover that two datacenters begin, and looks that it does not get through.
func (s *stage) nobodyOpens(ctx context.Context, dcs ...string) error {
	began := time.Now()
	for time.Since(began) < noVoteFor && ctx.Err() == nil {
		if dc, epoch := s.c.home(ctx, dcs...); dc != "" {
			s.need("nothing is decided without what was acknowledged", "", false, fmt.Sprintf("%s is home in epoch %d", dc, epoch))
			return nil
		}
		pauseFor(ctx, 50*time.Millisecond)
	}
	tried, _ := s.c.logLine(dcs[0], began, "automatic failover begins")
	s.need("nothing is decided without what was acknowledged", fmt.Sprintf("%s tried %.2fs after it was back, and no home opened within %s", dcs[0], tried.Sub(began).Seconds(), noVoteFor),
		!tried.IsZero(), dcs[0]+" did not try")
	return ctx.Err()
}
