//go:build linux

package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"geogate/test/wan"
)

var cutConditions = wan.Conditions{Cut: true}

// onLinks is a fault of the network.
func onLinks(c *cluster, what string, conditions wan.Conditions, pairs ...pair) fault {
	return fault{
		what:  what + ": " + conditions.String(),
		begin: func(context.Context) error { c.set(conditions, pairs...); return nil },
		end:   func() error { c.heal(pairs...); return nil },
	}
}

func both(c *cluster, a, b string) []pair { return slices.Concat(c.between(a, b), c.between(b, a)) }

// around are the directions between a datacenter and all others.
func around(c *cluster, dc string) (out []pair) {
	for _, other := range c.dcs {
		if other != dc {
			out = append(out, both(c, dc, other)...)
		}
	}
	return out
}

func cutLink(c *cluster, rnd *rand.Rand) fault {
	a, b := twoDCs(c, rnd)
	return onLinks(c, a+" and "+b, cutConditions, both(c, a, b)...)
}

func cutOneWay(c *cluster, rnd *rand.Rand) fault {
	a, b := twoDCs(c, rnd)
	return onLinks(c, "only from "+a+" to "+b, cutConditions, c.between(a, b)...)
}

func isolateDC(c *cluster, rnd *rand.Rand) fault {
	dc := pick(rnd, c.dcs)
	return onLinks(c, dc+" and all others", cutConditions, around(c, dc)...)
}

func flapLink(c *cluster, rnd *rand.Rand) fault {
	a, b := twoDCs(c, rnd)
	times := func() []time.Duration { return pauses(rnd, 100*time.Millisecond, 1300*time.Millisecond) }
	return repeated("flapping between "+a+" and "+b, onLinks(c, "", cutConditions, both(c, a, b)...), times(), times())
}

// slowLink is a round trip of 300 ms with 1 % loss, at less bandwidth than the load needs.
func slowLink(c *cluster, rnd *rand.Rand) fault {
	a, b := twoDCs(c, rnd)
	return onLinks(c, a+" and "+b, slow(), both(c, a, b)...)
}

func slow() wan.Conditions {
	return wan.Conditions{Delay: 150 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.01, BitsPerSecond: 250_000}
}

// narrowBytes lets acks, heartbeats and handshakes of TCP through, and no frame of the load.
const narrowBytes = 250

// stuckLink is up and does not move: small packets arrive, large ones never do.
func stuckLink(c *cluster, rnd *rand.Rand) fault {
	a, b := twoDCs(c, rnd)
	return onLinks(c, "from "+a+" to "+b, wan.Conditions{Delay: wide.Delay, MostBytes: narrowBytes}, c.between(a, b)...)
}

// groups are the datacenters with a network within; all of them where there are none.
func (c *cluster) groups() []string {
	groups := slices.DeleteFunc(slices.Clone(c.dcs), func(dc string) bool { return len(c.in(dc)) == 1 })
	if len(groups) == 0 {
		return c.dcs
	}
	return groups
}

// shakyDC is a bad network within a datacenter: elections, and messages of Raft that are late or never come.
func shakyDC(c *cluster, rnd *rand.Rand) fault {
	dc := pick(rnd, c.groups())
	bad := wan.Conditions{Delay: 40 * time.Millisecond, Jitter: 40 * time.Millisecond, Loss: float64(5+rnd.IntN(20)) / 100}
	return onLinks(c, "within "+dc, bad, c.between(dc, dc)...)
}

// splitDC parts a node from the rest of its datacenter; all others still reach it.
func splitDC(c *cluster, rnd *rand.Rand) fault {
	dc := pick(rnd, c.groups())
	n, oneWay := pick(rnd, c.in(dc)), rnd.IntN(3) == 0
	var pairs []pair
	for _, p := range c.between(dc, dc) {
		if p.to == n || p.from == n && !oneWay {
			pairs = append(pairs, p)
		}
	}
	what := n.String() + " and the rest of " + dc
	if oneWay {
		what = "from the rest of " + dc + " to " + n.String()
	}
	return onLinks(c, what, cutConditions, pairs...)
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
			c.set(cutConditions, pairs...)
			return nil
		},
		end: func() error { c.heal(pairs...); return nil },
	}
}
