//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"geogate/configs"
	"geogate/test/faults/check"
)

// aloneHolds is how long an old home stays alone after the next one has opened: longer than its lease, by any clock.
const aloneHolds = 8 * time.Second

// homeAloneRow parts a home from all other datacenters but not from its clients, and moves it at once. Its clock
// may run at another rate; drift is what the configuration says of clocks, 0 the default.
func homeAloneRow(name string, rate float64, drift int) row {
	must := "a home that is alone with its clients stops before the next one opens: the history of all clients is linearizable"
	if rate != 1 {
		must = fmt.Sprintf("the same with the clock of its lease at %g of its rate", rate)
	}
	r := homeRow(name, must, false, func(ctx context.Context, s *stage, h *homeLoad) error { return playAlone(ctx, s, h, rate, rate != 1) })
	if drift != 0 {
		edit := r.edit
		r.edit = func(t *configs.Topology) {
			edit(t)
			t.Timing.MaxClockDriftPPM = drift
		}
	}
	return r
}

// homeDriftRow has a clock that is far worse than the configuration says. It must fail: see planted_test.go.
func homeDriftRow() row {
	r := homeAloneRow("home-alone-drift", 0.5, 1)
	r.must, r.planted = "FAILS: the clock of a home at half its rate, and a configuration that does not allow for it", true
	return r
}

func playAlone(ctx context.Context, s *stage, h *homeLoad, rate float64, still bool) error {
	old := s.c.dcs[0]
	others := slices.DeleteFunc(s.c.holding(), func(dc string) bool { return dc == old })
	if rate != 1 {
		if !s.c.clocks {
			return fmt.Errorf("%w: the clock of a lease can be set in a build with -tags faults only", errNotMet)
		}
		if err := s.c.setRate(old, rate); err != nil {
			return err
		}
	}
	if err := h.waitAcks(ctx, 30, homeSettle, s.c.holding()...); err != nil {
		return err
	}
	if still {
		// Reads wait for writes that nobody else has: without those the lease alone ends them.
		h.still(s.c.holding()...)
		pauseFor(ctx, 2*policyTimeout)
	}
	s.say("%s is alone with its clients; its clock runs at %g", old, rate)
	cut := time.Now()
	s.c.set(cutConditions, around(s.c, old)...)
	next := others[s.rnd.IntN(len(others))]
	out, err := s.c.dr(ctx, s.c.leader(ctx, next), "failover", "--keyspace", homePrefix)
	s.say("failover to %s after %.2fs: %s", next, time.Since(cut).Seconds(), out)
	if err != nil {
		return fmt.Errorf("%w: failover to %s: %w", errNotMet, next, err)
	}
	h.again(others...)
	if _, err := s.c.waitHome(ctx, next, 1, homeSettle); err != nil {
		return err
	}
	s.show(ctx, old)
	s.show(ctx, next)
	if err := h.waitAcks(ctx, 20, homeSettle, others...); err != nil {
		return err
	}
	pauseFor(ctx, aloneHolds)
	healed := time.Now()
	s.stopped(h, old, cut, healed)
	h.again(old)
	s.c.heal(around(s.c, old)...)
	if err := h.waitAcks(ctx, 20, homeSettle, s.c.holding()...); err != nil {
		return err
	}
	s.say("clients of %s write again %.2fs after its links are back", old, h.first(old, healed).Sub(healed).Seconds())
	return nil
}

// stopped says when the old home last answered, and when a new one first did.
func (s *stage) stopped(h *homeLoad, old string, cut, healed time.Time) {
	var lastWrite, lastRead, firstOther time.Time
	for _, p := range h.told() {
		switch {
		case p.Outcome != check.Acked || p.done.Before(cut) || p.done.After(healed):
		case p.DC == old:
			lastWrite = later(lastWrite, p.done)
		case p.began.After(cut) && (firstOther.IsZero() || p.done.Before(firstOther)):
			firstOther = p.done
		}
	}
	h.l.mu.Lock()
	ops := slices.Clone(h.l.registers[homeName])
	h.l.mu.Unlock()
	reads := 0
	for _, op := range ops {
		at := h.l.start.Add(time.Duration(op.Return))
		if op.Input.(check.Call).Op != check.Read || op.Return == check.Never || !at.After(cut) || at.After(healed) || !h.l.of(op, old) {
			continue
		}
		reads++
		lastRead = later(lastRead, at)
	}
	text := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return fmt.Sprintf("%.2fs", t.Sub(cut).Seconds())
	}
	about := fmt.Sprintf("after the cut: its last write %s, its last of %d reads %s, the first write elsewhere %s", text(lastWrite), reads, text(lastRead), text(firstOther))
	var problems []string
	if !lastWrite.IsZero() && lastWrite.After(firstOther) {
		problems = append(problems, "it acknowledged a write after the next home did")
	}
	if !lastRead.IsZero() && lastRead.After(firstOther) {
		problems = append(problems, "it answered a read after the next home acknowledged a write")
	}
	s.v.check("the old home stops first", about, problems)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// of says whether an operation is of a client of a datacenter.
func (l *load) of(op porcupine.Operation, dc string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.where[op.ClientId] == dc
}
