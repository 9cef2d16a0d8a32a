//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

// homeHalfRow moves a home while the datacenter that neither loses nor gains it still hears the old one: whatever that
// confirms to the old home from its promise on is not in the cut.
func homeHalfRow() row {
	return homeRow("home-half-cut", "a failover while a third datacenter goes on hearing the old home loses nothing that was acknowledged", false, playHalf)
}

func playHalf(ctx context.Context, s *stage, h *homeLoad) error {
	const rounds = 3
	for i := range rounds {
		dcs := s.c.holding()
		home, epoch, err := s.c.waitAnyHome(ctx, 0, s.cfg.Recover, dcs...)
		if err != nil {
			return err
		}
		next := dcs[s.rnd.IntN(len(dcs))]
		for next == home {
			next = dcs[s.rnd.IntN(len(dcs))]
		}
		s.c.set(cutConditions, both(s.c, home, next)...)
		pauseFor(ctx, time.Duration(s.rnd.IntN(300))*time.Millisecond)
		began := time.Now()
		if out, err := s.c.dr(ctx, s.c.leader(ctx, next), "failover", "--keyspace", homePrefix); err != nil {
			return fmt.Errorf("%w: failover to %s: %w: %s", errNotMet, next, err, out)
		}
		decided := time.Since(began)
		if _, err := s.c.waitHome(ctx, next, epoch, homeSettle); err != nil {
			return err
		}
		s.say("failover %d from %s to %s, which do not hear each other: the command took %.2fs, %s is open after %.2fs", i, home, next, decided.Seconds(), next, time.Since(began).Seconds())
		s.c.heal(both(s.c, home, next)...)
		if err := h.waitAcks(ctx, 20, s.cfg.Recover, dcs...); err != nil {
			return err
		}
	}
	return nil
}
