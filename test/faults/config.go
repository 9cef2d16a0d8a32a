//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Errors of a run.
var (
	errUsage  = errors.New("bad usage")
	errFailed = errors.New("checks failed")
)

// config is what a run is asked for. The flags of command.go say what the fields mean.
type config struct {
	Seconds    int
	Seed       uint64
	Nodes      []int
	Only       []string
	Rows       []string
	Geogate    string
	Dir        string
	Out        string
	MaxRSSMiB  uint64
	MaxDiskMiB uint64
	Recover    time.Duration
	Converge   time.Duration
}

func defaults() config {
	return config{
		Seconds: 180, Nodes: []int{3, 1, 1}, Out: "bin/faults", MaxRSSMiB: 512, MaxDiskMiB: 1024,
		Recover: 45 * time.Second, Converge: time.Minute,
	}
}

func (c config) validate() error {
	switch {
	case c.Seconds < 1:
		return fmt.Errorf("%w: --seconds is %d, want at least 1", errUsage, c.Seconds)
	case len(c.Nodes) < 2 || len(c.Nodes) > len(dcNames):
		return fmt.Errorf("%w: --nodes names %d datacenters, want 2 to %d", errUsage, len(c.Nodes), len(dcNames))
	case c.Recover <= 0 || c.Converge <= 0:
		return fmt.Errorf("%w: --recover and --converge are positive", errUsage)
	}
	for _, n := range c.Nodes {
		if n != 1 && n != 3 && n != 5 {
			return fmt.Errorf("%w: --nodes has %d nodes in a datacenter, want 1, 3 or 5", errUsage, n)
		}
	}
	for _, name := range c.Only {
		if !slices.Contains(kindNames(), name) {
			return fmt.Errorf("%w: --only names %q, which is none of %v", errUsage, name, kindNames())
		}
	}
	if len(c.Only) == 1 && c.Only[0] == clockOffset && c.Geogate != "" && !clocksCanBeSet(c.Geogate) {
		return fmt.Errorf("%w: --only %s needs a build with -tags faults, which %s is not; make faults makes one", errUsage, clockOffset, c.Geogate)
	}
	for _, name := range c.Rows {
		if name != allRows && !slices.Contains(rowNames(), name) {
			return fmt.Errorf("%w: --row names %q, which is neither %q nor one of %v", errUsage, name, allRows, rowNames())
		}
	}
	return nil
}

// limit bounds a row, whatever happens in it.
func (c config) limit(r row) time.Duration {
	if r.timed {
		return 3*time.Duration(c.Seconds)*time.Second + 4*c.Recover + c.Converge + 3*time.Minute
	}
	return 4*c.Recover + c.Converge + 3*time.Minute
}
