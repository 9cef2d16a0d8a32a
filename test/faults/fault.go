//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"geogate/test/wan"
)

// fault is one thing that goes wrong for a while. All that chance decides is decided when it is made; who
// leads is found out when it begins. Faults may overlap: each step leaves alone what it does not find.
type fault struct {
	what  string
	begin func(ctx context.Context) error
	end   func() error
}

// kind makes faults of one kind.
type kind struct {
	name string
	make func(c *cluster, rnd *rand.Rand) fault
}

func kinds() []kind {
	return []kind{
		{"kill-node", killNode},
		{"kill-leader", killLeader},
		{"kill-dc", killDC},
		{"pause-node", pauseNode},
		{"pause-leader", pauseLeader},
		{"cut-link", cutLink},
		{"cut-one-way", cutOneWay},
		{"flap-link", flapLink},
		{"isolate-dc", isolateDC},
		{"isolate-leader", isolateLeader},
		{"slow-link", slowLink},
		{"shaky-dc", shakyDC},
		{"wipe-stream", wipeStream},
		{"fill-disk", fillDisk},
		{clockOffset, setClock},
	}
}

func kindNames() (out []string) {
	for _, k := range kinds() {
		out = append(out, k.name)
	}
	return out
}

func pick[T any](rnd *rand.Rand, from []T) T { return from[rnd.IntN(len(from))] }

// twoDCs are two different datacenters.
func twoDCs(c *cluster, rnd *rand.Rand) (a, b string) {
	order := rnd.Perm(len(c.dcs))
	return c.dcs[order[0]], c.dcs[order[1]]
}

// onNodes is a fault of nodes that are chosen when it begins.
func onNodes(what string, choose func(ctx context.Context) []*node, begin func(*node), end func(*node) error) fault {
	var chosen []*node
	return fault{
		what: what,
		begin: func(ctx context.Context) error {
			chosen = choose(ctx)
			for _, n := range chosen {
				begin(n)
			}
			return nil
		},
		end: func() error {
			for _, n := range chosen {
				if err := end(n); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func always(nodes ...*node) func(context.Context) []*node {
	return func(context.Context) []*node { return nodes }
}

func leaderOf(c *cluster, dc string) func(context.Context) []*node {
	return func(ctx context.Context) []*node { return []*node{c.leader(ctx, dc)} }
}

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

// onLinks is a fault of the network.
func onLinks(c *cluster, what string, conditions wan.Conditions, pairs ...pair) fault {
	return fault{
		what:  what + ": " + conditions.String(),
		begin: func(context.Context) error { c.set(conditions, pairs...); return nil },
		end:   func() error { c.heal(pairs...); return nil },
	}
}

func cutLink(c *cluster, rnd *rand.Rand) fault {
	a, b := twoDCs(c, rnd)
	return onLinks(c, a+" and "+b, wan.Conditions{Cut: true}, slices.Concat(c.between(a, b), c.between(b, a))...)
}

func cutOneWay(c *cluster, rnd *rand.Rand) fault {
	a, b := twoDCs(c, rnd)
	return onLinks(c, "only from "+a+" to "+b, wan.Conditions{Cut: true}, c.between(a, b)...)
}

func isolateDC(c *cluster, rnd *rand.Rand) fault {
	dc := pick(rnd, c.dcs)
	var pairs []pair
	for _, other := range c.dcs {
		if other != dc {
			pairs = slices.Concat(pairs, c.between(dc, other), c.between(other, dc))
		}
	}
	return onLinks(c, dc+" and all others", wan.Conditions{Cut: true}, pairs...)
}

// isolateLeader cuts a leader off from everybody but the clients beside it, who go on asking it.
func isolateLeader(c *cluster, rnd *rand.Rand) fault {
	dc, oneWay := pick(rnd, c.dcs), rnd.IntN(3) == 0
	what := "the leader of " + dc + " cut off from everybody"
	if oneWay {
		what = "the leader of " + dc + " hears nobody, and is heard"
	}
	var pairs []pair
	return fault{
		what: what,
		begin: func(ctx context.Context) error {
			leader := c.leader(ctx, dc)
			for p := range c.pairs() {
				if p.to == leader || p.from == leader && !oneWay {
					pairs = append(pairs, p)
				}
			}
			c.set(wan.Conditions{Cut: true}, pairs...)
			return nil
		},
		end: func() error { c.heal(pairs...); return nil },
	}
}

// slowLink is a round trip of 300 ms with 1 % loss, at less bandwidth than the load needs.
func slowLink(c *cluster, rnd *rand.Rand) fault {
	a, b := twoDCs(c, rnd)
	slow := wan.Conditions{Delay: 150 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.01, BitsPerSecond: 500_000}
	return onLinks(c, a+" and "+b, slow, slices.Concat(c.between(a, b), c.between(b, a))...)
}

// shakyDC is a bad network within a datacenter: elections, and messages of Raft that are late or never come.
func shakyDC(c *cluster, rnd *rand.Rand) fault {
	groups := slices.DeleteFunc(slices.Clone(c.dcs), func(dc string) bool { return len(c.in(dc)) == 1 })
	if len(groups) == 0 {
		groups = c.dcs // there is no network within any
	}
	dc := pick(rnd, groups)
	bad := wan.Conditions{Delay: 40 * time.Millisecond, Jitter: 40 * time.Millisecond, Loss: float64(5+rnd.IntN(20)) / 100}
	return onLinks(c, "within "+dc, bad, c.between(dc, dc)...)
}

func flapLink(c *cluster, rnd *rand.Rand) fault {
	a, b := twoDCs(c, rnd)
	pairs := slices.Concat(c.between(a, b), c.between(b, a))
	var times []time.Duration
	for range 64 {
		times = append(times, time.Duration(100+rnd.IntN(1200))*time.Millisecond)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	return fault{
		what: "flapping between " + a + " and " + b,
		begin: func(context.Context) error {
			go func() {
				defer close(done)
				for i := 0; ; i++ {
					if i%2 == 0 {
						c.set(wan.Conditions{Cut: true}, pairs...)
					} else {
						c.heal(pairs...)
					}
					select {
					case <-time.After(times[i%len(times)]):
					case <-stop:
						return
					}
				}
			}()
			return nil
		},
		end: func() error {
			close(stop)
			<-done
			c.heal(pairs...)
			return nil
		},
	}
}

// wipeStream removes the leader's JetStream from the disk, under the running node or while it is down.
func wipeStream(c *cluster, rnd *rand.Rand) fault {
	dc, down := pick(rnd, c.dcs), rnd.IntN(2) == 0
	what := "JetStream folder removed under the leader of " + dc
	if down {
		what = "kill -9 of the leader of " + dc + ", JetStream folder removed"
	}
	return onNodes(what, leaderOf(c, dc), func(n *node) {
		if down {
			n.kill()
		}
		// Files appear while the tree is removed: what is left is a damaged store, which is as good.
		_ = os.RemoveAll(filepath.Join(n.spec.Dir, "nats"))
	}, (*node).start)
}

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
