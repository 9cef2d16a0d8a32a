//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
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
