//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// clockOffset is the kind that needs a build whose clock can be set.
const clockOffset = "clock-offset"

// setClock makes the clocks of a datacenter wrong by up to an hour, from one moment to the next, and right again.
func setClock(c *cluster, rnd *rand.Rand) fault {
	dc := pick(rnd, c.dcs)
	off := time.Duration(1+rnd.IntN(3600)) * time.Second
	if rnd.IntN(2) == 0 {
		off = -off
	}
	file := func(n *node) string { return filepath.Join(n.spec.Dir, clockOffset) }
	return onNodes(fmt.Sprintf("clocks of %s off by %s", dc, off), always(c.in(dc)...), func(n *node) {
		_ = os.WriteFile(file(n), []byte(off.String()), 0o600) // on a full disk it stays right
	}, func(n *node) error {
		if err := os.Remove(file(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set the clock of %s right: %w", n, err)
		}
		return nil
	})
}

// clockRate is the file that makes the clock of a home's lease fast or slow.
const clockRate = "clock-rate"

// setRate makes the clocks of leases of a datacenter run at another rate.
func (c *cluster) setRate(dc string, rate float64) error {
	for _, n := range c.in(dc) {
		if err := os.WriteFile(filepath.Join(n.spec.Dir, clockRate), []byte(strconv.FormatFloat(rate, 'g', -1, 64)), 0o600); err != nil {
			return fmt.Errorf("set the clock of %s: %w", n, err)
		}
	}
	return nil
}
