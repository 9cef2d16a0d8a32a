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

// run makes what it needs of geogate and plays the mix of faults, or rows. The error is nil when every check
// passed.
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
	if cfg.Geogate == "" {
		dir, err := makeWorkDir(cfg.Dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, removeWorkDir(dir)) }()
		cfg.Geogate = filepath.Join(dir, "geogate")
		if err := build(ctx, cfg.Geogate); err != nil {
			return err
		}
	}
	if len(cfg.Rows) > 0 {
		return runRows(ctx, cfg, out)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	say := teller(out, stop)
	say("seed %d, %d s, nodes %v, commit %s", cfg.Seed, cfg.Seconds, cfg.Nodes, commit(ctx))
	if !clocksCanBeSet(cfg.Geogate) {
		say("no clock is set wrong: %s was not built with -tags faults", cfg.Geogate)
	}
	v, err := runOne(ctx, cfg, mix(), say)
	_, _ = fmt.Fprintf(out, "%d passed, %d failed\n", v.passed, v.failed)
	if err == nil && v.failed > 0 {
		err = fmt.Errorf("%w: %d, with seed %d", errFailed, v.failed, cfg.Seed)
	}
	return err
}

// runOne makes a cluster, plays a row on it, and judges.
func runOne(ctx context.Context, cfg config, r row, say func(string, ...any)) (v *verdict, err error) {
	v = &verdict{say: say}
	limit := cfg.limit(r)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("took longer than %s", limit))
	defer cancel()
	dir, err := makeWorkDir(cfg.Dir)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, removeWorkDir(dir)) }()
	c, err := newCluster(cfg, r, dir, cfg.Geogate)
	if err != nil {
		return v, err
	}
	c.clocks = clocksCanBeSet(cfg.Geogate)
	failures := filepath.Join(cfg.Out, fmt.Sprintf("%s-seed-%d-%s", r.name, cfg.Seed, time.Now().Format("150405")))
	s := &stage{cfg: cfg, c: c, l: newLoad(c, cfg.Seed), v: v, rnd: rand.New(rand.NewPCG(cfg.Seed, r.stream())), say: say, failures: failures}
	err = cmp.Or(s.bench(ctx, r), context.Cause(ctx))
	err = errors.Join(err, c.close())
	if err != nil || v.failed > 0 {
		say("logs and histories are in %s", failures)
		return v, errors.Join(err, keepLogs(dir, failures))
	}
	_ = os.Remove(failures) // empty, and the one around it unless another run failed
	_ = os.Remove(cfg.Out)
	return v, nil
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
