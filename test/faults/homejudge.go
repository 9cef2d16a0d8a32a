//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"geogate/test/faults/check"
)

// homeRow is a row of a single-writer keyspace under a load of its own.
func homeRow(name, must string, automatic bool, play func(ctx context.Context, s *stage, h *homeLoad) error) row {
	return row{
		name: name, must: must, nodes: []int{3, 3, 3}, rtt: homeRTT, edit: withHome(automatic),
		alone: func(ctx context.Context, s *stage) error { return s.benchHome(ctx, play) },
	}
}

const (
	homeRTT    = 60 * time.Millisecond
	homeSettle = 20 * time.Second // until the first home, or a load after a fault, is there
)

// benchHome runs the load, has the row played, ends the load and judges.
func (s *stage) benchHome(ctx context.Context, play func(ctx context.Context, s *stage, h *homeLoad) error) error {
	if _, err := s.c.waitHome(ctx, s.c.dcs[0], 0, homeSettle); err != nil {
		return err
	}
	watchers, err := s.c.watchers()
	if err != nil {
		return err
	}
	h := newHomeLoad(s.c, s.cfg.Seed)
	var watching, loading sync.WaitGroup
	wctx, stopWatching := context.WithCancel(ctx)
	lctx, stopLoading := context.WithCancel(ctx)
	defer func() {
		stopLoading()
		loading.Wait()
		stopWatching()
		watching.Wait()
		for _, w := range watchers {
			_ = w.client.Close() // its watch is over
		}
	}()
	for _, w := range watchers {
		watching.Go(func() { w.run(wctx) })
	}
	var loaded error
	loading.Go(func() { loaded = h.run(lctx) })
	loading.Go(func() { s.measure(lctx) })
	if err := h.waitAcks(ctx, 20, homeSettle, s.c.holding()...); err != nil {
		return err
	}
	s.say("%s is home of %s, and clients in %v write it", s.c.dcs[0], homePrefix, s.c.holding())
	played := play(ctx, s, h)
	stopLoading()
	loading.Wait()
	h.report(s.say)
	if played != nil || loaded != nil {
		return fmt.Errorf("play: %w", errorOf(played, loaded))
	}
	return s.judgeHome(ctx, h, watchers)
}

func errorOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// judgeHome checks what must hold of every row of homes.
func (s *stage) judgeHome(ctx context.Context, h *homeLoad, watchers []*watcher) error {
	if err := os.MkdirAll(s.failures, 0o700); err != nil {
		return err
	}
	began := time.Now()
	problems := s.c.converge(ctx, s.cfg.Converge)
	s.v.check("convergence", fmt.Sprintf("%.1fs after the load, may be %s", time.Since(began).Seconds(), s.cfg.Converge), problems)
	if len(problems) > 0 {
		s.showDifferences(ctx)
	}
	data := map[string]map[string]string{}
	for _, dc := range s.c.living() {
		client, err := s.c.client(s.c.in(dc)...)
		if err != nil {
			return err
		}
		have, err := read(ctx, client)
		_ = client.Close() // nothing is under way
		if err != nil {
			return fmt.Errorf("read all of %s: %w", dc, err)
		}
		data[dc] = have.values
		if dc == s.c.replaced {
			continue
		}
		if err := h.l.judgeWatches(ctx, s.v, dc, have, watchers); err != nil {
			return err
		}
	}
	var writes []check.Write
	acked, degraded := 0, 0
	var unhealed []string
	for _, p := range h.told() {
		if p.degraded {
			degraded++
			p.Outcome = check.Unknown // the next move may leave it out
		}
		writes = append(writes, p.Write)
		if p.degraded {
			continue
		}
		if p.Outcome == check.Acked {
			acked++
		} else if strings.HasPrefix(p.Key, againPrefix) {
			unhealed = append(unhealed, fmt.Sprintf("%s was not acknowledged in %d tries", p.Key, p.tries))
		}
	}
	s.v.check("writes under QUORUM", fmt.Sprintf("%d acknowledged of %d, %d more while degraded", acked, len(writes), degraded), check.Writes(writes, data))
	s.v.check("errors heal by trying again", fmt.Sprintf("%d keys", len(writes)), unhealed[:min(len(unhealed), 5)])
	ops := h.l.registers[homeName]
	s.v.check("registers of the keyspace", fmt.Sprintf("%d operations in all datacenters", len(ops)),
		check.Registers(ops, linearWithin, filepath.Join(s.failures, "registers-home.html")))
	s.v.acked, s.v.slowest = acked, s.slowest
	return s.c.judgeNodes(s.v, s.cfg)
}

// need notes a check with one thing to say.
func (s *stage) need(name, about string, ok bool, problem string) {
	var problems []string
	if !ok {
		problems = []string{problem}
	}
	s.v.check(name, about, problems)
}
