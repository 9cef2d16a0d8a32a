//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// homeOperatorsRow has two operators move a dead home at once, each to another datacenter.
func homeOperatorsRow() row {
	return homeRow("home-two-operators", "of two failovers at once, one wins and the other is told who and in which epoch", false, playOperators)
}

func playOperators(ctx context.Context, s *stage, h *homeLoad) error {
	old, others := s.c.dcs[0], s.c.holding()[1:]
	s.say("kill -9 of all of %s", old)
	s.c.killAll(old)
	outs, errs := make([]string, len(others)), make([]error, len(others))
	var wg sync.WaitGroup
	for i, dc := range others {
		wg.Go(func() { outs[i], errs[i] = s.c.dr(ctx, s.c.leader(ctx, dc), "failover", "--keyspace", homePrefix) })
	}
	wg.Wait()
	for i, dc := range others {
		s.say("the operator in %s is told (%v): %s", dc, errs[i], outs[i])
	}
	home, epoch, err := s.c.waitAnyHome(ctx, 1, homeSettle, others...)
	if err != nil {
		return err
	}
	var problems []string
	for i, dc := range others {
		won := dc == home
		switch {
		case won != (errs[i] == nil):
			problems = append(problems, fmt.Sprintf("%s is home, and the command in %s ended with: %v", home, dc, errs[i]))
		case !won && !(strings.Contains(outs[i], home) && strings.Contains(outs[i], fmt.Sprintf("epoch %d", epoch))):
			problems = append(problems, fmt.Sprintf("the command in %s does not name %s and epoch %d", dc, home, epoch))
		}
	}
	s.v.check("one of two failovers wins", fmt.Sprintf("%s in epoch %d", home, epoch), problems)
	for _, dc := range others {
		s.show(ctx, dc)
	}
	if err := h.waitAcks(ctx, 20, homeSettle, others...); err != nil {
		return err
	}
	if err := s.startAll(ctx, s); err != nil {
		return err
	}
	return h.waitAcks(ctx, 20, s.cfg.Recover, s.c.holding()...)
}
