//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ballast is the file that fills a disk.
const ballast = "ballast"

// fillDisk leaves no byte on the small disk. The node may stop, and is started when there is room again.
func fillDisk(c *cluster, _ *rand.Rand) fault {
	path := filepath.Join(c.small.spec.Dir, ballast)
	return fault{
		what: "disk of " + c.small.String() + " full",
		begin: func(context.Context) error {
			c.small.allowEnd(true)
			f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }() // its content means nothing
			var st unix.Statfs_t
			if err := unix.Statfs(path, &st); err != nil {
				return err
			}
			for size := int64(st.Bavail) * st.Bsize; size >= st.Bsize; size /= 2 { // others take from it meanwhile
				at, err := f.Seek(0, 2)
				if err != nil {
					return err
				}
				if err := unix.Fallocate(int(f.Fd()), 0, at, size); err == nil {
					size *= 2 // once more, until nothing is left
				}
			}
			return nil
		},
		end: func() error {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("make room again: %w", err)
			}
			// A node that is about to stop because of what it met may do so a moment from now.
			deadline := time.After(2 * time.Second)
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for waiting := true; waiting && c.small.running(); {
				select {
				case <-tick.C:
				case <-deadline:
					waiting = false
				}
			}
			c.small.allowEnd(false)
			return c.small.start()
		},
	}
}
