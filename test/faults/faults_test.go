//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"geogate/test/faults/check"
	"geogate/test/wan"
)

var (
	seconds = flag.Int("seconds", 30, "of faults in the short run; healing and checking come on top")
	seed    = flag.Uint64("seed", 7, "of the short run; 0 draws one")
)

// available skips a test loudly where there can be no network of namespaces.
func available(t *testing.T) {
	t.Helper()
	if err := wan.Available(); err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
}

// printed shows a run as it goes on, and keeps it.
type printed struct{ bytes.Buffer }

func (p *printed) Write(b []byte) (int, error) {
	_, _ = os.Stdout.Write(b)
	return p.Buffer.Write(b)
}

func TestShortRun(t *testing.T) {
	available(t)
	if testing.Short() {
		t.Skip("NOT TESTED: takes a minute, and -short was asked for")
	}
	cfg := defaults()
	cfg.Seconds, cfg.Seed = *seconds, *seed
	cfg.Out = filepath.Join(os.TempDir(), "geogate-faults-failed")
	cfg.Recover, cfg.Converge = 2*cfg.Recover, 2*cfg.Converge // other tests run at the same time
	var out printed
	if err := run(t.Context(), cfg, &out); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var passed, failed int
	if n, err := fmt.Sscanf(lines[len(lines)-1], "%d passed, %d failed", &passed, &failed); n != 2 || err != nil || passed < 20 {
		t.Errorf("the last line is %q, want the count of checks: %v", lines[len(lines)-1], err)
	}
}

// TestRow plays one short row, as make faults ARGS="--row NAME" does.
func TestRow(t *testing.T) {
	available(t)
	if testing.Short() {
		t.Skip("NOT TESTED: takes ten seconds, and -short was asked for")
	}
	cfg := defaults()
	cfg.Seed, cfg.Rows, cfg.Out = *seed, []string{"join-alone"}, filepath.Join(os.TempDir(), "geogate-faults-failed")
	cfg.Recover, cfg.Converge = 2*cfg.Recover, 2*cfg.Converge // other tests run at the same time
	var out printed
	if err := run(t.Context(), cfg, &out); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "row join-alone           passed") {
		t.Errorf("no summary of the row in:\n%s", out.String())
	}
}

// TestHomes plays two rows of a keyspace that has a home.
func TestHomes(t *testing.T) {
	available(t)
	if testing.Short() {
		t.Skip("NOT TESTED: takes forty seconds, and -short was asked for")
	}
	cfg := defaults()
	cfg.Seed, cfg.Rows, cfg.Out = *seed, []string{"home-switchover", "home-dies"}, filepath.Join(os.TempDir(), "geogate-faults-failed")
	cfg.Recover, cfg.Converge = 2*cfg.Recover, 2*cfg.Converge // other tests run at the same time
	var out printed
	if err := run(t.Context(), cfg, &out); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	for _, name := range cfg.Rows {
		if !strings.Contains(out.String(), fmt.Sprintf("row %-20s passed", name)) {
			t.Errorf("no summary of the row %s in:\n%s", name, out.String())
		}
	}
}

func TestRowsAreListed(t *testing.T) {
	var out bytes.Buffer
	if err := listRows(&out); err != nil {
		t.Fatal(err)
	}
	for _, name := range rowNames() {
		if strings.Count("\n"+out.String(), "\n"+name+" ") != 1 {
			t.Errorf("%s is not listed once:\n%s", name, out.String())
		}
	}
}

// TestStoppedRunLeavesNothing ends a run in the middle of its load.
func TestStoppedRunLeavesNothing(t *testing.T) {
	available(t)
	cfg := defaults()
	cfg.Nodes, cfg.Dir, cfg.Out = []int{1, 1}, t.TempDir(), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := run(ctx, cfg, writerFunc(func(b []byte) {
		if bytes.Contains(b, []byte("load begins")) {
			cancel()
		}
	}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a run that was stopped ended with %v", err)
	}
	if left, err := os.ReadDir(cfg.Dir); err != nil || len(left) != 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
	if mounts, err := mountsUnder(cfg.Dir); err != nil || len(mounts) != 0 {
		t.Errorf("left mounted: %v, %v", mounts, err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) {
	f(b)
	return len(b), nil
}

func TestFoldersOfDeadRunsAreRemoved(t *testing.T) {
	parent := t.TempDir()
	gone := exec.Command("sleep", "600")
	if err := gone.Start(); err != nil {
		t.Skip("NOT TESTED: no coreutils: ", err)
	}
	if err := gone.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = gone.Wait() }() // until then it is a zombie
	for alive(gone.Process.Pid) {
		runtime.Gosched()
	}
	dead := filepath.Join(parent, fmt.Sprintf("%s%d-1", workPrefix, gone.Process.Pid))
	living := filepath.Join(parent, fmt.Sprintf("%s%d-1", workPrefix, os.Getppid()))
	other := filepath.Join(parent, workPrefix+"notes")
	for _, dir := range []string{filepath.Join(dead, "us-east", "n0"), living, other} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if wan.Available() == nil {
		if err := mountSmall(filepath.Join(dead, "us-east", "n0"), 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	mine, err := makeWorkDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{dead: false, living: true, other: true, mine: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %t", dir, err, want)
		}
	}
}

func TestSameSeedSameFaults(t *testing.T) {
	c := &cluster{dcs: dcNames[:3]}
	for _, dc := range c.dcs {
		n := &node{dc: dc}
		n.spec.Name = "n0"
		c.nodes = append(c.nodes, n)
	}
	c.small = c.nodes[0]
	plan := func(seed uint64) (out []string) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		for range 5 {
			for _, k := range kinds() {
				out = append(out, k.make(c, rnd).what)
			}
		}
		return out
	}
	if !slices.Equal(plan(7), plan(7)) {
		t.Error("one seed, two plans")
	}
	if slices.Equal(plan(7), plan(8)) {
		t.Error("two seeds, one plan")
	}
}

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want check.Outcome
	}{
		{nil, check.Acked},
		{status.Error(codes.FailedPrecondition, "geogate: committed in us-east"), check.Committed},
		{status.Error(codes.FailedPrecondition, "geogate: nothing was written: this node's clock is ahead: ..."), check.Refused},
		{status.Error(codes.Unavailable, "geogate: nothing was written: ap-south is down"), check.Refused},
		{status.Error(codes.Unavailable, "geogate: nothing was read or written: keyspace ..."), check.Refused},
		{status.Error(codes.Unavailable, "etcdserver: no leader"), check.Refused},
		{status.Error(codes.Unavailable, "etcdserver: request timed out"), check.Unknown},
		{status.Error(codes.Unavailable, "error reading from server: EOF"), check.Unknown},
		{status.Error(codes.DeadlineExceeded, "context deadline exceeded"), check.Unknown},
	} {
		if got := outcome(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, edit := range []func(*config){
		func(c *config) { c.Seconds = 0 },
		func(c *config) { c.Nodes = []int{3} },
		func(c *config) { c.Nodes = []int{3, 2} },
		func(c *config) { c.Only = []string{"earthquake"} },
		func(c *config) { c.Rows = []string{"earthquake"} },
		func(c *config) { c.Recover = -time.Second },
		func(c *config) { c.Only, c.Geogate = []string{clockOffset}, os.Args[0] },
	} {
		c := defaults()
		edit(&c)
		if err := c.validate(); !errors.Is(err, errUsage) {
			t.Errorf("%+v is accepted: %v", c, err)
		}
	}
	if err := defaults().validate(); err != nil {
		t.Error(err)
	}
}
