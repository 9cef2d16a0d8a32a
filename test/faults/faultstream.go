//go:build linux

package main

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// onStream damages the JetStream of a leader on the disk, under the running node or while it is down.
func onStream(c *cluster, rnd *rand.Rand, what string, damage func(dir string)) fault {
	dc, down := pick(rnd, c.dcs), rnd.IntN(2) == 0
	text := "JetStream folder " + what + " under the leader of " + dc
	if down {
		text = "kill -9 of the leader of " + dc + ", JetStream folder " + what
	}
	return onNodes(text, leaderOf(c, dc), func(n *node) {
		if down {
			n.kill()
		}
		damage(filepath.Join(n.spec.Dir, "nats"))
	}, (*node).start)
}

// wipeStream removes it. Files appear while the tree is removed: what is left is a damaged store, which is as
// good.
func wipeStream(c *cluster, rnd *rand.Rand) fault {
	return onStream(c, rnd, "removed", func(dir string) { _ = os.RemoveAll(dir) })
}

// truncateStream cuts every file in half, those of the messages and those that describe them.
func truncateStream(c *cluster, rnd *rand.Rand) fault {
	return onStream(c, rnd, "cut in half, file by file,", func(dir string) {
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return nil // files come and go
			}
			if info, err := e.Info(); err == nil {
				_ = os.Truncate(path, info.Size()/2)
			}
			return nil
		})
	})
}
