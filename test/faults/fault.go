//go:build linux

package main

import (
	"context"
	"math/rand/v2"
	"time"
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
		{"kill-home", killHome},
		{"move-home", moveHome},
		{"kill-loop-node", killLoopNode},
		{"kill-loop-leader", killLoopLeader},
		{"kill-loop-dc", killLoopDC},
		{"pause-node", pauseNode},
		{"pause-leader", pauseLeader},
		{"pause-dc", pauseDC},
		{"cut-link", cutLink},
		{"cut-one-way", cutOneWay},
		{"flap-link", flapLink},
		{"isolate-dc", isolateDC},
		{"isolate-leader", isolateLeader},
		{"split-dc", splitDC},
		{"slow-link", slowLink},
		{"stuck-link", stuckLink},
		{"shaky-dc", shakyDC},
		{"wipe-stream", wipeStream},
		{"truncate-stream", truncateStream},
		{"fill-disk", fillDisk},
		{clockOffset, setClock},
		{"compact", compact},
		{"away", away},
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

// pauses are times that chance has drawn.
func pauses(rnd *rand.Rand, least, most time.Duration) (out []time.Duration) {
	for range 64 {
		out = append(out, least+time.Duration(rnd.Int64N(int64(most-least))))
	}
	return out
}

// repeated is a fault that begins and ends again and again, until it ends for good.
func repeated(what string, f fault, bad, good []time.Duration) fault {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	return fault{
		what: what,
		begin: func(context.Context) error {
			go func() {
				var err error
				for i := 0; ctx.Err() == nil && err == nil; i++ {
					if err = f.begin(ctx); err != nil {
						break
					}
					pauseFor(ctx, bad[i%len(bad)])
					err = f.end()
					pauseFor(ctx, good[i%len(good)])
				}
				done <- err
			}()
			return nil
		},
		end: func() error {
			stop()
			return <-done
		},
	}
}
