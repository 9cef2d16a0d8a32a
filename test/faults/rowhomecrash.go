//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	crashRounds = 8
	crashAfter  = 800 * time.Millisecond // at most, from the beginning of the command
)

// homeCrashRow kills whoever drives a move.
func homeCrashRow() row {
	return homeRow("home-crash", "a move whose driver is killed ends: gone on with, or off; nothing is lost", false, playCrash)
}

func playCrash(ctx context.Context, s *stage, h *homeLoad) error {
	dcs := s.c.holding()
	ends := map[string]int{}
	for i := range crashRounds {
		home, epoch, err := s.c.waitAnyHome(ctx, 0, s.cfg.Recover, dcs...)
		if err != nil {
			return err
		}
		to := dcs[s.rnd.IntN(len(dcs))]
		for to == home {
			to = dcs[s.rnd.IntN(len(dcs))]
		}
		args, driver := []string{"switchover", "--keyspace", homePrefix, "--to", to, "--deadline", "10s"}, home
		if s.rnd.IntN(2) == 0 {
			args, driver = []string{"failover", "--keyspace", homePrefix, "--deadline", "10s"}, to
		}
		after := time.Duration(s.rnd.Int64N(int64(crashAfter)))
		victim := s.c.leader(ctx, driver)
		asked := victim
		for _, n := range s.c.in(driver) { // who lives to tell
			if n != victim {
				asked = n
			}
		}
		var out string
		var told error
		var wg sync.WaitGroup
		wg.Go(func() { out, told = s.c.dr(ctx, asked, args...) })
		pauseFor(ctx, after)
		victim.kill()
		began := time.Now()
		wg.Wait()
		problem := s.c.settled(ctx, s.cfg.Recover)
		took := time.Since(began)
		now, at, err := s.c.waitAnyHome(ctx, 0, s.cfg.Recover, dcs...)
		if err != nil {
			return err
		}
		end := "off"
		if now == to {
			end = "moved"
		}
		ends[end]++
		lines := strings.Split(out, "\n")
		s.say("%s from %s (epoch %d) to %s, kill -9 of %s after %.2fs: %s is home in epoch %d after %.2fs; the command (%v): %s",
			args[0], home, epoch, to, victim, after.Seconds(), now, at, took.Seconds(), told, lines[len(lines)-1])
		s.slowest = max(s.slowest, took)
		s.need(fmt.Sprintf("move %d has ended", i), fmt.Sprintf("%.2fs after the kill, may be %s", took.Seconds(), s.cfg.Recover), problem == "", problem)
		s.need(fmt.Sprintf("what the command of move %d said is so", i), lines[len(lines)-1], told != nil || now == to, fmt.Sprintf("it said moved, and %s is home", now))
		if err := victim.start(); err != nil {
			return err
		}
		if err := h.waitAcks(ctx, 10, s.cfg.Recover, dcs...); err != nil {
			return err
		}
	}
	s.say("of %d moves: %v", crashRounds, ends)
	return nil
}

// settled waits until no move is under way or open anywhere, and all agree on the home; it says what is not so in time.
func (c *cluster) settled(ctx context.Context, within time.Duration) (problem string) {
	deadline := time.Now().Add(within)
	for {
		problem = ""
		epoch, home, open := uint64(0), "", false
		for i, dc := range c.holding() {
			st, err := c.homeAt(ctx, dc)
			switch {
			case err != nil:
				problem = err.Error()
				continue
			case st.Fenced != "" || st.Draining:
				problem = fmt.Sprintf("%s: fenced %q, draining %t", dc, st.Fenced, st.Draining)
			case i > 0 && (st.Epoch != epoch || st.Home != home):
				problem = fmt.Sprintf("%s knows %s in epoch %d, another %s in epoch %d", dc, st.Home, st.Epoch, home, epoch)
			}
			epoch, home, open = st.Epoch, st.Home, open || st.Open
			if n := len(st.Moves); n > 0 && st.Moves[n-1].Result == "" {
				problem = fmt.Sprintf("%s is at %+v", dc, st.Moves[n-1])
			}
		}
		if problem == "" && !open {
			problem = "no home takes writes"
		}
		if problem == "" || time.Now().After(deadline) || ctx.Err() != nil {
			return problem
		}
		pauseFor(ctx, 50*time.Millisecond)
	}
}
