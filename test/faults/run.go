//go:build linux

package main

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"geogate/test/wan"
)

// run makes a cluster, breaks it, and judges. The error is nil when every check passed.
func run(ctx context.Context, cfg config, out io.Writer) (err error) {
	if err := cfg.validate(); err != nil {
		return err
	}
	if err := wan.Available(); err != nil {
		return err
	}
	for cfg.Seed == 0 {
		cfg.Seed = rand.Uint64N(1_000_000)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.limit(), fmt.Errorf("took longer than %s", cfg.limit()))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	say := teller(out, stop)
	say("seed %d, %d s, nodes %v, commit %s", cfg.Seed, cfg.Seconds, cfg.Nodes, commit(ctx))
	dir, err := makeWorkDir(cfg.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeWorkDir(dir)) }()
	bin := cfg.Geogate
	if bin == "" {
		bin = filepath.Join(dir, "geogate")
		if err := build(ctx, bin); err != nil {
			return err
		}
	}
	c, err := newCluster(cfg, dir, bin)
	if err != nil {
		return err
	}
	if c.clocks = clocksCanBeSet(bin); !c.clocks {
		say("no clock is set wrong: %s was not built with -tags faults", bin)
	}
	failures := filepath.Join(cfg.Out, fmt.Sprintf("seed-%d-%s", cfg.Seed, time.Now().Format("150405")))
	v := &verdict{say: say}
	err = bench(ctx, cfg, c, v, failures)
	if cerr := c.close(); err == nil {
		err = cerr
	}
	if err != nil || v.failed > 0 {
		say("logs and histories are in %s", failures)
		err = errors.Join(err, keepLogs(dir, failures))
	}
	_, _ = fmt.Fprintf(out, "%d passed, %d failed\n", v.passed, v.failed)
	if err == nil && v.failed > 0 {
		err = fmt.Errorf("%w: %d, with seed %d", errFailed, v.failed, cfg.Seed)
	}
	return err
}

// bench is a run on a cluster that is made and torn down by the caller.
func bench(ctx context.Context, cfg config, c *cluster, v *verdict, failures string) error {
	for _, n := range c.nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	l, err := newLoad(c, cfg.Seed)
	if err != nil {
		return err
	}
	defer l.close()
	m := newNemesis(c, cfg.Seed, cfg.Only)
	m.say = v.say
	m.recovered = func(ctx context.Context) error { return l.recovered(ctx, cfg.Recover) }
	if err := m.recovered(ctx); err != nil {
		return fmt.Errorf("the cluster does not even start: %w", err)
	}
	v.say("every datacenter takes ALL writes; load begins")
	watchers, err := c.watchers()
	if err != nil {
		return err
	}
	// Everything that runs beside the nemesis ends before this function does, watchers last.
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
	loading.Go(func() { l.run(lctx) })
	loading.Go(func() {
		for lctx.Err() == nil {
			for _, n := range c.nodes {
				n.measure()
			}
			pauseFor(lctx, 2*time.Second)
		}
	})
	problems, err := m.run(ctx, time.Now().Add(time.Duration(cfg.Seconds)*time.Second))
	if err != nil {
		return fmt.Errorf("nemesis: %w", cmp.Or(context.Cause(ctx), err))
	}
	stopLoading()
	loading.Wait()
	v.say("load ended after %d writes of unique keys, %d of contended ones; faults: %v", len(l.writes), l.contended, m.counts)
	if err := os.MkdirAll(failures, 0o700); err != nil {
		return err
	}
	v.check("recovery after each round of faults", fmt.Sprintf("within %s", cfg.Recover), problems)
	began := time.Now()
	problems = c.converge(ctx, cfg.Converge)
	v.check("convergence", fmt.Sprintf("%.1fs after the load, may be %s", time.Since(began).Seconds(), cfg.Converge), problems)
	if err := l.judge(ctx, v, watchers, failures); err != nil {
		return err
	}
	if err := c.judgeNodes(v, cfg); err != nil {
		return err
	}
	if v.failed == 0 {
		_ = os.Remove(failures) // empty, and the one around it unless another run failed
		_ = os.Remove(cfg.Out)
	}
	return nil
}

// recovered starts what ended by itself, and waits until every datacenter takes a write under ALL.
func (l *load) recovered(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for _, n := range l.c.nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	var errs []error
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, dc := range l.c.dcs {
		wg.Go(func() {
			err := l.takesWrites(ctx, dc)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s takes no ALL write: %w", dc, err))
			}
		})
	}
	wg.Wait()
	if errs != nil {
		for _, n := range l.c.nodes {
			s, err := l.c.status(context.WithoutCancel(ctx), n)
			errs = append(errs, fmt.Errorf("%s: leader %q, vector %v, peers %s (%w)", n, s.Leader, s.Vector, s.Peers, cmp.Or(err, errors.New("answers"))))
		}
	}
	return errors.Join(errs...)
}

func (l *load) takesWrites(ctx context.Context, dc string) (last error) {
	last = errors.New("not asked")
	for ctx.Err() == nil {
		for _, n := range l.c.in(dc) {
			_, err := l.conns[n].put(ctx, "probe/"+dc, time.Now().String(), "ALL")
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

// teller prints lines with the time since it was made; when nobody reads them any more, it calls stop.
func teller(out io.Writer, stop func(error)) func(format string, args ...any) {
	begin := time.Now()
	var mu sync.Mutex
	return func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if _, err := fmt.Fprintf(out, "%7.2fs "+format+"\n", append([]any{time.Since(begin).Seconds()}, args...)...); err != nil {
			stop(err)
		}
	}
}

// root is the folder of the module.
func root() string {
	_, self, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(self), "..", "..")
}

func build(ctx context.Context, bin string) error {
	text, err := exec.CommandContext(ctx, "go", "build", "-C", root(), "-tags", "faults", "-o", bin, "./cmd/geogate").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build ./cmd/geogate: %w\n%s", err, text)
	}
	return nil
}

// clocksCanBeSet says whether a program is a build for tests of faults. The machine's clock is not touched.
func clocksCanBeSet(bin string) bool {
	info, err := buildinfo.ReadFile(bin)
	return err == nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-tags", Value: "faults"})
}

func commit(ctx context.Context) string {
	text, err := exec.CommandContext(ctx, "git", "-C", root(), "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

// keepLogs copies the nodes' logs and the topology to where they outlive the run.
func keepLogs(dir, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return err
	}
	for _, path := range append(logs, filepath.Join(dir, "geogate.yaml")) {
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(path)), b, 0o600)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
