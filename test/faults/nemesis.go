//go:build linux

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// nemesis makes rounds of one to three overlapping faults until the time is over, and heals everything.
type nemesis struct {
	c       *cluster
	rnd     *rand.Rand
	kinds   []kind
	say     func(format string, args ...any)
	recover func(ctx context.Context, after string) error // waits until every datacenter works again
	counts  map[string]int                                // faults by kind
}

func newNemesis(c *cluster, seed uint64, only []string) *nemesis {
	m := &nemesis{c: c, rnd: rand.New(rand.NewPCG(seed, 1)), counts: map[string]int{}}
	for _, k := range kinds() {
		if k.name == clockOffset && !c.clocks {
			continue
		}
		if len(only) == 0 || slices.Contains(only, k.name) {
			m.kinds = append(m.kinds, k)
		}
	}
	return m
}

func (m *nemesis) run(ctx context.Context, until time.Time) error {
	// Every kind comes up before any comes up again, so that a short run is a mixed one too.
	var deck []kind
	var since []string // what happened since the cluster was last known to work
	for ctx.Err() == nil && time.Now().Before(until) {
		n := [...]int{1, 1, 1, 2, 2, 3}[m.rnd.IntN(6)]
		var round []fault
		for range n {
			if len(deck) == 0 {
				deck = slices.Clone(m.kinds)
				m.rnd.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
			}
			k := deck[0]
			deck = deck[1:]
			m.counts[k.name]++
			round = append(round, k.make(m.c, m.rnd))
		}
		hold := time.Duration(1000+m.rnd.IntN(4500)) * time.Millisecond
		quiet := time.Duration(500+m.rnd.IntN(1500)) * time.Millisecond
		settle := m.rnd.IntN(3) != 0
		for _, f := range round {
			since = append(since, f.what)
		}
		if err := m.round(ctx, round, hold); err != nil {
			return err
		}
		if !settle && time.Now().Before(until) {
			continue // into the next faults with whatever these have left behind
		}
		if err := m.recover(ctx, strings.Join(since, " + ")); err != nil {
			return err
		}
		since = nil
		pauseFor(ctx, quiet)
	}
	return ctx.Err()
}

// round begins faults, some time apart, holds them and ends them.
func (m *nemesis) round(ctx context.Context, round []fault, hold time.Duration) (err error) {
	for i, f := range round {
		m.say("nemesis: %s", f.what)
		if berr := f.begin(ctx); berr != nil {
			round, err = round[:i], errors.Join(err, berr)
			break
		}
		pauseFor(ctx, hold/4)
	}
	pauseFor(ctx, hold)
	for _, f := range round {
		m.say("nemesis: end of %s", f.what)
		err = errors.Join(err, f.end())
	}
	return err
}

// pauseFor waits; the end of ctx cuts it short.
func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
