//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"geogate/test/faults/check"
)

// stage is what a row plays on: a cluster under load, and what was found so far.
type stage struct {
	cfg      config
	c        *cluster
	l        *load
	v        *verdict
	rnd      *rand.Rand
	say      func(format string, args ...any)
	failures string // folder for what a failed run leaves

	slowest  time.Duration // the longest wait until everything worked again
	problems []string      // of recovery
}

// bench starts the cluster and the load, has the row played, ends the load and judges. The caller makes the
// cluster and closes it.
func (s *stage) bench(ctx context.Context, r row) error {
	prepare := s.startAll
	if r.prepare != nil {
		prepare = r.prepare
	}
	if err := prepare(ctx, s); err != nil {
		return err
	}
	if err := s.c.recovered(ctx, s.cfg.Recover); err != nil {
		return fmt.Errorf("the cluster does not even start: %w", err)
	}
	if r.alone != nil {
		return r.alone(ctx, s)
	}
	s.say("every datacenter takes ALL writes; load begins")
	watchers, err := s.c.watchers()
	if err != nil {
		return err
	}
	s.c.seen = func(dc string) int64 { return leastSeen(watchers, dc) }
	// Everything that runs beside the faults ends before this function does, watchers last.
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
	loading.Go(func() { s.l.run(lctx) })
	loading.Go(func() { s.measure(lctx) })
	if err := r.play(ctx, s); err != nil {
		return fmt.Errorf("%s: %w", r.name, cmp.Or(context.Cause(ctx), err))
	}
	stopLoading()
	loading.Wait()
	s.say("load ended after %d writes of unique keys, %d of contended ones", len(s.l.writes), s.l.contended)
	return s.judge(ctx, watchers)
}

func (s *stage) startAll(context.Context, *stage) error {
	for _, n := range s.c.nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) measure(ctx context.Context) {
	for ctx.Err() == nil {
		for _, n := range s.c.nodes {
			n.measure()
		}
		pauseFor(ctx, 2*time.Second)
	}
}

// judge checks all that was recorded, after the load.
func (s *stage) judge(ctx context.Context, watchers []*watcher) error {
	if err := os.MkdirAll(s.failures, 0o700); err != nil {
		return err
	}
	s.v.check("recovery after each round of faults", fmt.Sprintf("%.1fs at most, may be %s", s.slowest.Seconds(), s.cfg.Recover), s.problems)
	began := time.Now()
	problems := s.c.converge(ctx, s.cfg.Converge)
	took := time.Since(began)
	s.slowest = max(s.slowest, took)
	s.v.check("convergence", fmt.Sprintf("%.1fs after the load, may be %s", took.Seconds(), s.cfg.Converge), problems)
	if len(problems) > 0 {
		s.showDifferences(ctx)
	}
	if err := s.l.judge(ctx, s.v, watchers, s.failures); err != nil {
		return err
	}
	s.v.acked = s.l.acked()
	s.v.slowest = s.slowest
	return s.c.judgeNodes(s.v, s.cfg)
}

// acked counts the writes that were acknowledged.
func (l *load) acked() (count int) {
	for _, w := range l.writes {
		if w.Outcome == check.Acked {
			count++
		}
	}
	return count + l.contended
}

// hold lets faults happen for a while, all at once.
func (s *stage) hold(ctx context.Context, d time.Duration, faults ...fault) error {
	m := nemesis{c: s.c, say: s.say}
	return m.round(ctx, faults, d)
}

// recover waits until everything works again, and notes how long that took and when it did not happen.
func (s *stage) recover(ctx context.Context, after string) error {
	began := time.Now()
	err := s.c.recovered(ctx, s.cfg.Recover)
	took := time.Since(began)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.slowest = max(s.slowest, took)
	if err != nil {
		s.say("NOT RECOVERED: %v", err)
		s.problems = append(s.problems, "after "+after+": "+err.Error())
		return nil
	}
	s.say("all datacenters take %s writes again after %.1fs", s.c.strictest(), took.Seconds())
	return nil
}

// recovered starts what ended by itself, and waits until every datacenter takes a write under the strictest
// policy.
func (c *cluster) recovered(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for _, n := range c.nodes {
		if c.isLost(n.dc) {
			continue
		}
		if err := n.start(); err != nil {
			return err
		}
	}
	var errs []error
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, dc := range c.living() {
		wg.Go(func() {
			err := c.takesWrites(ctx, dc)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s takes no %s write: %w", dc, c.strictest(), err))
			}
		})
	}
	wg.Wait()
	if errs != nil {
		for _, n := range c.nodes {
			s, err := c.status(context.WithoutCancel(ctx), n)
			errs = append(errs, fmt.Errorf("%s: leader %q, vector %v, peers %+v (%w)", n, s.Leader, s.Vector, s.Peers, cmp.Or(err, errors.New("answers"))))
		}
	}
	return errors.Join(errs...)
}

func (c *cluster) takesWrites(ctx context.Context, dc string) (last error) {
	last = errors.New("not asked")
	for ctx.Err() == nil {
		for _, n := range c.in(dc) {
			_, err := c.conns[n].put(ctx, "probe/"+dc, time.Now().String(), c.strictest())
			if err == nil && c.homes {
				_, err = c.conns[n].put(ctx, homePrefix+"probe/"+dc, time.Now().String(), "QUORUM")
			}
			if err == nil {
				return nil
			}
			if ctx.Err() == nil {
				last = err
			}
		}
		pauseFor(ctx, failurePause)
	}
	return last
}
