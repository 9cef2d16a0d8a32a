//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"geogate/configs"
)

// row is one thing that may go wrong, played on a cluster of its own: what happens, and what may not come of
// it on top of what is checked after every run.
type row struct {
	name string
	must string // what is wanted beyond the checks of every run
	// nodes of each datacenter; nil means 3, 1 and 1.
	nodes []int
	// nats is how many nats-servers the first datacenter has beside its nodes; 0 means those embed theirs.
	nats    int
	rtt     time.Duration                             // between datacenters; 0 means 30 ms
	witness bool                                      // the last datacenter only votes
	edit    func(*configs.Topology)                   // nil for none
	prepare func(ctx context.Context, s *stage) error // starts the nodes; nil starts all
	play    func(ctx context.Context, s *stage) error // under load
	alone   func(ctx context.Context, s *stage) error // instead of play: it brings its own load and checks
	planted bool                                      // must fail: it shows that the checks see it
	homes   bool                                      // the load writes a single-writer keyspace too
	timed   bool                                      // takes as long as asked for
}

// allRows stands for all rows but those that take as long as asked for, or must fail.
const allRows = "all"

func (r row) stream() uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(r.name)) // never fails
	return h.Sum64()
}

// newRand is a source of chance for something that has a name.
func newRand(seed uint64, name string, n uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, row{name: name}.stream()+n))
}

// mix is what is played when no row is asked for: everything, in the order of chance.
func mix() row {
	return row{name: "mix", timed: true, homes: true, edit: withSmallHome, play: func(ctx context.Context, s *stage) error {
		m := newNemesis(s.c, s.cfg.Seed, s.cfg.Only)
		m.say, m.recover = s.say, s.recover
		err := m.run(ctx, time.Now().Add(time.Duration(s.cfg.Seconds)*time.Second))
		s.say("faults: %v", m.counts)
		return err
	}}
}

func rowNames() (out []string) {
	for _, r := range rows() {
		out = append(out, r.name)
	}
	return out
}

func listRows(out io.Writer) error {
	for _, r := range rows() {
		if _, err := fmt.Fprintf(out, "%-20s %s\n", r.name, r.must); err != nil {
			return err
		}
	}
	return nil
}

// runRows plays rows one after the other. Of many, only what failed is told in full.
func runRows(ctx context.Context, cfg config, out io.Writer) error {
	var chosen []row
	for _, r := range rows() {
		if slices.Contains(cfg.Rows, r.name) || slices.Contains(cfg.Rows, allRows) && !r.timed && !r.planted {
			chosen = append(chosen, r)
		}
	}
	_, _ = fmt.Fprintf(out, "seed %d, %d rows, commit %s\n", cfg.Seed, len(chosen), commit(ctx))
	var lines, failed []string
	var passes, fails int
	for _, r := range chosen {
		if r.nodes != nil {
			cfg.Nodes = r.nodes
		} else {
			cfg.Nodes = defaults().Nodes
		}
		var full bytes.Buffer
		var to io.Writer = &full
		if len(chosen) == 1 {
			to = out
		}
		began := time.Now()
		rctx, stop := context.WithCancelCause(ctx)
		v, err := runOne(rctx, cfg, r, teller(to, stop))
		stop(nil)
		passes, fails = passes+v.passed, fails+v.failed
		word := "passed"
		if err != nil || v.failed > 0 {
			word = "FAILED"
			failed = append(failed, r.name)
			_, _ = fmt.Fprintf(out, "row %s:\n%s", r.name, full.String())
		}
		if err != nil {
			fails++
			_, _ = fmt.Fprintf(out, "row %s: %v\n", r.name, err)
		}
		lines = append(lines, fmt.Sprintf("row %-20s %s  %5.1f s  %7d writes acknowledged  %5.1f s longest catch-up  %3d checks",
			r.name, word, time.Since(began).Seconds(), v.acked, v.slowest.Seconds(), v.passed+v.failed))
		if _, werr := fmt.Fprintln(out, lines[len(lines)-1]); werr != nil || ctx.Err() != nil {
			return errors.Join(werr, context.Cause(ctx))
		}
	}
	if len(failed) > 0 && len(lines) > 1 {
		_, _ = fmt.Fprintln(out, strings.Join(lines, "\n"))
	}
	_, _ = fmt.Fprintf(out, "%d passed, %d failed\n", passes, fails)
	if len(failed) > 0 {
		return fmt.Errorf("%w: rows %v, with seed %d", errFailed, failed, cfg.Seed)
	}
	return nil
}

// rounds is a row of faults: for some rounds all of them at once, each time with other victims.
func rounds(name, must string, times int, held time.Duration, faults ...func(*cluster, *rand.Rand) fault) row {
	return row{name: name, must: must, play: func(ctx context.Context, s *stage) error {
		for range times {
			var round []fault
			var what []string
			for _, again := range faults {
				f := again(s.c, s.rnd)
				round, what = append(round, f), append(what, f.what)
			}
			if err := s.hold(ctx, held, round...); err != nil {
				return err
			}
			if err := s.recover(ctx, strings.Join(what, " + ")); err != nil {
				return err
			}
		}
		return nil
	}}
}
