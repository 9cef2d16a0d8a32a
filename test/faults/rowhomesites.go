//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"geogate/configs"
)

// twoSites makes a row of homes one of two datacenters, and a witness or none. Of two, one alone is no majority: writes
// go on under ASYNC while the other is away, and say so.
func twoSites(r row, witness bool) row {
	r.nodes = []int{3, 3}
	if r.witness = witness; witness {
		r.nodes = append(r.nodes, 1)
	}
	edit := r.edit
	r.edit = func(t *configs.Topology) {
		edit(t)
		t.Keyspaces[len(t.Keyspaces)-1].OnUnreachable = configs.Degraded
	}
	return r
}

func homeWitnessDiesRow() row {
	r := homeDiesRow()
	r.name, r.must = "home-witness-dies", "home-dies with two datacenters and a witness"
	return twoSites(r, true)
}

func homeWitnessAloneRow() row {
	return twoSites(homeRow("home-witness-alone", "home-alone with two datacenters and a witness", false,
		func(ctx context.Context, s *stage, h *homeLoad) error { return playAlone(ctx, s, h, 1, true) }), true)
}

// homeTwoSitesRow has no majority without the home.
func homeTwoSitesRow() row {
	return twoSites(homeRow("home-two-sites", "two datacenters and no witness: a failover is refused and says what to do; a forced one works, and the old home joins it", false, playSites), false)
}

func playSites(ctx context.Context, s *stage, h *homeLoad) error {
	old, next := s.c.dcs[0], s.c.dcs[1]
	if err := h.waitAcks(ctx, 50, homeSettle, s.c.holding()...); err != nil {
		return err
	}
	s.c.set(cutConditions, around(s.c, old)...)
	pauseFor(ctx, time.Duration(50+s.rnd.IntN(400))*time.Millisecond)
	s.c.killAll(old)
	s.say("kill -9 of all of %s", old)
	began := time.Now()
	out, err := s.c.dr(ctx, s.c.leader(ctx, next), "failover", "--keyspace", homePrefix, "--deadline", "5s")
	s.say("a failover without a majority, after %.2fs (%v): %s", time.Since(began).Seconds(), err, out)
	var problems []string
	if err == nil {
		problems = append(problems, "it was not refused")
	}
	for _, word := range []string{"majority", "--force", old} {
		if !strings.Contains(out, word) {
			problems = append(problems, fmt.Sprintf("what it says lacks %q", word))
		}
	}
	s.v.check("a failover without a majority is refused", "and says why and what can be done", problems)
	s.show(ctx, next)
	if _, err := s.c.dr(ctx, s.c.leader(ctx, next), "failover", "--keyspace", homePrefix, "--force", "--confirm", "/other/"); err == nil {
		return fmt.Errorf("%w: --force with another keyspace to confirm is taken", errNotMet)
	}
	out, err = s.c.dr(ctx, s.c.leader(ctx, next), "failover", "--keyspace", homePrefix, "--force", "--confirm", homePrefix)
	s.say("forced (%v): %s", err, out)
	if err != nil {
		return fmt.Errorf("%w: forced failover to %s: %w", errNotMet, next, err)
	}
	s.need("the ledger is printed", "before a forced failover", strings.Contains(out, "lost") && strings.Contains(out, "forced failover"), out)
	if _, err := s.c.waitHome(ctx, next, 1, homeSettle); err != nil {
		return err
	}
	s.show(ctx, next)
	if err := h.waitAcks(ctx, 20, homeSettle, next); err != nil {
		return err
	}
	if err := s.returns(ctx, h, old, next); err != nil {
		return err
	}
	if err := h.waitAcks(ctx, 20, homeSettle, s.c.holding()...); err != nil {
		return err
	}
	// The home that was forced puts itself to the vote as soon as a majority can be reached, and has a lease from then on.
	began = time.Now()
	for {
		st, err := s.c.homeAt(ctx, next)
		if err == nil && !st.Forced && st.Lease != nil && st.Open {
			s.say("%s is confirmed in epoch %d, %.2fs later", next, st.Epoch, time.Since(began).Seconds())
			break
		}
		if time.Since(began) > s.cfg.Recover || ctx.Err() != nil {
			return fmt.Errorf("%w: the forced home is not confirmed %s after all are back: %+v, %v", errNotMet, s.cfg.Recover, st, err)
		}
		pauseFor(ctx, 100*time.Millisecond)
	}
	s.show(ctx, next)
	return nil
}
