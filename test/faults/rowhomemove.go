//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	switchPause  = 2 * time.Second
	switchRounds = 4
)

// homeSwitchRow moves a home around under load.
func homeSwitchRow() row {
	return homeRow("home-switchover", fmt.Sprintf("a planned move of a home stops writes for at most %s, and loses nothing", switchPause), false, playSwitch)
}

func playSwitch(ctx context.Context, s *stage, h *homeLoad) error {
	p := &pulse{}
	stop := p.watch(ctx, s.c.dir)
	dcs := s.c.holding()
	home := 0
	var pauses, moves []time.Duration
	var late []string
	for i := range switchRounds {
		to := (home + 1 + s.rnd.IntN(len(dcs)-1)) % len(dcs)
		asked := dcs[s.rnd.IntN(len(dcs))]
		p.reset()
		began := time.Now()
		out, err := s.c.dr(ctx, s.c.leader(ctx, asked), "switchover", "--keyspace", homePrefix, "--to", dcs[to])
		if err != nil {
			return fmt.Errorf("%w: switchover to %s, asked for in %s: %w: %s", errNotMet, dcs[to], asked, err, out)
		}
		moves = append(moves, time.Since(began))
		home = to
		if err := h.waitAcks(ctx, 20, homeSettle, dcs...); err != nil {
			return err
		}
		longest := time.Duration(0)
		for _, dc := range dcs {
			longest = max(longest, h.pause(dc, began, time.Now()))
		}
		pauses = append(pauses, longest)
		if may := p.allowed(switchPause); longest > may {
			late = append(late, fmt.Sprintf("move %d to %s: no write was acknowledged for %.2fs, may be %.2fs", i, dcs[to], longest.Seconds(), may.Seconds()))
		}
		s.say("home moved to %s, asked for in %s: the command took %.2fs, the longest pause of writes in a datacenter was %.2fs", dcs[to], asked, moves[i].Seconds(), longest.Seconds())
		if i == 0 {
			for _, dc := range dcs {
				s.show(ctx, dc)
			}
		}
	}
	if err := stop(); err != nil {
		return err
	}
	slices.Sort(pauses)
	slices.Sort(moves)
	s.v.check("pause of writes", fmt.Sprintf("%d moves, median %.2fs, longest %.2fs, may be %s, and more when the machine or its disk is late; the command's median %.2fs", len(pauses),
		pauses[len(pauses)/2].Seconds(), pauses[len(pauses)-1].Seconds(), switchPause, moves[len(moves)/2].Seconds()), late)
	return nil
}
