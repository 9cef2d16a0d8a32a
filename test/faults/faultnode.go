//go:build linux

package main

import (
	"math/rand/v2"
	"syscall"
	"time"
)

func killNode(c *cluster, rnd *rand.Rand) fault {
	n := pick(rnd, c.nodes)
	return onNodes("kill -9 of "+n.String(), always(n), (*node).kill, (*node).start)
}

func killLeader(c *cluster, rnd *rand.Rand) fault {
	dc := pick(rnd, c.dcs)
	return onNodes("kill -9 of the leader of "+dc, leaderOf(c, dc), (*node).kill, (*node).start)
}

func killDC(c *cluster, rnd *rand.Rand) fault {
	dc := pick(rnd, c.dcs)
	return onNodes("kill -9 of all of "+dc, always(c.in(dc)...), (*node).kill, (*node).start)
}

// loop makes a fault of nodes come back before anybody has got over it: a process that runs for a moment, or
// long enough to lead, and is killed again.
func loop(once func(*cluster, *rand.Rand) fault) func(*cluster, *rand.Rand) fault {
	return func(c *cluster, rnd *rand.Rand) fault {
		f := once(c, rnd)
		return repeated("again and again "+f.what, f,
			pauses(rnd, 20*time.Millisecond, 600*time.Millisecond), pauses(rnd, 50*time.Millisecond, 2*time.Second))
	}
}

func killLoopNode(c *cluster, rnd *rand.Rand) fault   { return loop(killNode)(c, rnd) }
func killLoopLeader(c *cluster, rnd *rand.Rand) fault { return loop(killLeader)(c, rnd) }
func killLoopDC(c *cluster, rnd *rand.Rand) fault     { return loop(killDC)(c, rnd) }

func pause(n *node) { n.signal(syscall.SIGSTOP) }

func unpause(n *node) error {
	n.signal(syscall.SIGCONT)
	return nil
}

func pauseNode(c *cluster, rnd *rand.Rand) fault {
	n := pick(rnd, c.nodes)
	return onNodes("pause of "+n.String(), always(n), pause, unpause)
}

func pauseLeader(c *cluster, rnd *rand.Rand) fault {
	dc := pick(rnd, c.dcs)
	return onNodes("pause of the leader of "+dc, leaderOf(c, dc), pause, unpause)
}

func pauseDC(c *cluster, rnd *rand.Rand) fault {
	dc := pick(rnd, c.dcs)
	return onNodes("pause of all of "+dc, always(c.in(dc)...), pause, unpause)
}
