package replication

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"geogate/replication/policy"
)

// load writes to a DC until stopped.
func (c *cluster) load(dc string, every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
				c.dcs[dc].write(c.t, fmt.Appendf(nil, "value %d of some length, so that frames differ", i))
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

func (c *cluster) healthy(within time.Duration) {
	c.t.Helper()
	for _, dc := range c.names {
		for _, other := range c.names {
			if dc != other {
				eventually(c.t, within, dc+" sees "+other+" healthy", func() bool { return c.peer(dc, other).Health == "healthy" })
			}
		}
	}
}

func TestLinkCutAndHealed(t *testing.T) {
	c := newCluster(t, nil, "a", "b")
	c.healthy(10 * time.Second)
	stop := c.load("a", 5*time.Millisecond)
	defer stop()
	m := c.dcs["b"]
	eventually(t, 5*time.Second, "flow", func() bool { return m.Position("a").Revision > 20 })

	for _, ends := range []bool{false, true} { // connections survive the outage, or not
		c.links["a"]["n1"].cut() // b pulls from a, and acks to a, over this link
		if ends {
			c.links["a"]["n1"].sever()
		}
		eventually(t, 6*time.Second, "a sees b down", func() bool { return c.peer("a", "b").Health == "down" })
		err := c.engine("a").Check(policy.All)
		if err == nil || !strings.Contains(err.Error(), "b since") {
			t.Errorf("check of ALL with b down: %v", err)
		}
		s := c.peer("a", "b")
		if s.LagSeconds == nil || *s.LagSeconds < 1 || *s.LagTxns == 0 {
			t.Errorf("lag of a silent peer: %v", s.LagSeconds)
		}
		before := m.Position("a").Revision
		c.links["a"]["n1"].heal()
		healed := time.Now()
		eventually(t, 2*time.Second, "flow after the link healed", func() bool { return m.Position("a").Revision > before })
		flow := time.Since(healed)
		eventually(t, 2*time.Second-time.Since(healed), "b is healthy again", func() bool { return c.peer("a", "b").Health == "healthy" })
		t.Logf("flow after %s, healthy after %s", flow, time.Since(healed))
	}
	stop()
	c.settle(20 * time.Second) // the race detector on a busy machine: 100 frames a second
}

func TestStreamDeletedUnderLoad(t *testing.T) {
	c := newCluster(t, nil, "a", "b", "c")
	stop := c.load("a", 5*time.Millisecond)
	defer stop()
	js := c.engine("a").js
	for range 3 {
		before := c.dcs["b"].Position("a").Revision
		eventually(t, 10*time.Second, "flow", func() bool { return c.dcs["b"].Position("a").Revision > before+50 })
		eventually(t, 5*time.Second, "there is a stream to delete", func() bool {
			return js.DeleteStream(context.Background(), streamName("a")) == nil
		})
	}
	stop()
	c.settle(10 * time.Second)
}

func TestStreamDeletedWhileIdle(t *testing.T) {
	c := newCluster(t, nil, "a", "b")
	c.dcs["a"].write(t, []byte("x"))
	c.settle(5 * time.Second)
	if err := c.engine("a").js.DeleteStream(context.Background(), streamName("a")); err != nil {
		t.Fatal(err)
	}
	rev := c.dcs["a"].write(t, []byte("y"))
	if _, err := c.engine("a").Wait(within(t, 10*time.Second), rev, policy.All); err != nil {
		t.Fatal(err)
	}
	c.settle(5 * time.Second)
}

func TestStoreWipedAndServerRestarted(t *testing.T) {
	c := newCluster(t, nil, "a", "b")
	n := c.nodes["a"]["n1"]
	for range 500 {
		c.dcs["a"].write(t, []byte("before"))
	}
	eventually(t, 10*time.Second, "some arrived", func() bool { return c.dcs["b"].Position("a").Revision > 0 })
	n.stop()
	if err := os.RemoveAll(n.dir); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		c.dcs["a"].write(t, []byte("after"))
	}
	c.start("a", "n1")
	c.nodes["a"]["n1"].lead(2)
	c.settle(10 * time.Second)
}

// TestStoreWipedUnderTheServer takes the files away from a server that runs. What it still has in memory
// goes on for a while; then reading or writing fails in its own ways.
func TestStoreWipedUnderTheServer(t *testing.T) {
	c := newCluster(t, nil, "a", "b")
	stop := c.load("a", 5*time.Millisecond)
	defer stop()
	eventually(t, 5*time.Second, "flow", func() bool { return c.dcs["b"].Position("a").Revision > 20 })
	if err := os.RemoveAll(c.nodes["a"]["n1"].dir); err != nil {
		t.Fatal(err)
	}
	big := []byte(strings.Repeat("incompressible? no matter: the block files must roll over ", 1<<13))
	for range 40 {
		c.dcs["a"].write(t, random(len(big)))
	}
	stop()
	c.settle(30 * time.Second)
}

func TestLeaderChangeAtTheOrigin(t *testing.T) {
	c := prepareCluster(t, nil, "a", "b")
	c.addLink("a", "n2")
	c.addLink("a", "n3")
	for i := 1; i <= 3; i++ {
		c.start("a", fmt.Sprintf("n%d", i))
	}
	c.start("b", "n1")
	c.nodes["b"]["n1"].lead(1)
	say := func(leader string) {
		for _, n := range c.nodes["a"] {
			n.engine.SetLeader(leader)
		}
	}
	stop := c.load("a", 5*time.Millisecond)
	defer stop()
	for term, name := range []string{"n1", "n3", "n2", "n1"} {
		n := c.nodes["a"][name]
		say(name)
		n.lead(uint64(term + 1))
		before := c.dcs["b"].Position("a").Revision
		changed := time.Now()
		eventually(t, 10*time.Second, "flow from "+name, func() bool { return c.dcs["b"].Position("a").Revision > before+50 })
		t.Logf("flow from %s after %s", name, time.Since(changed))
		rev := c.dcs["a"].Position("a").Revision
		if got, err := n.engine.Wait(within(t, 5*time.Second), rev, policy.All); err != nil {
			t.Fatalf("ALL at %s: %v, %v; b %s", name, got, err, c.where("b", "a"))
		}
		if c.engine("b").Peers()[0].Receiver.Node != name {
			t.Errorf("b pulls from %q, not %q", c.engine("b").Peers()[0].Receiver.Node, name)
		}
		n.endLead()
		say("")
	}
	c.nodes["a"]["n2"].lead(9)
	stop()
	c.settle(10 * time.Second)
}

// TestPullLeavesANodeThatNoLongerLeads: the old leader's server goes on beating, its engine says that it no
// longer leads.
func TestPullLeavesANodeThatNoLongerLeads(t *testing.T) {
	c := newCluster(t, func(cfg *Config) { cfg.PingInterval = 50 * time.Millisecond }, "a", "b")
	c.dcs["a"].write(t, []byte("x"))
	c.settle(5 * time.Second)
	a := c.engine("a")
	l := a.current.Swap(nil)
	eventually(t, 5*time.Second, "b looks for another node", func() bool {
		return c.peer("b", "a").Receiver.State == ReceiverConnecting
	})
	a.current.Store(l)
	rev := c.dcs["a"].write(t, []byte("y"))
	if _, err := a.Wait(within(t, 5*time.Second), rev, policy.All); err != nil {
		t.Fatal(err)
	}
}

func TestLeaderChangeAtTheReceiver(t *testing.T) {
	c := prepareCluster(t, nil, "a", "b")
	c.addLink("b", "n2")
	c.start("a", "n1")
	c.nodes["a"]["n1"].lead(1)
	c.start("b", "n1")
	c.start("b", "n2")
	stop := c.load("a", 5*time.Millisecond)
	defer stop()
	for term, name := range []string{"n1", "n2", "n1"} {
		n := c.nodes["b"][name]
		n.lead(uint64(term + 1))
		before := c.dcs["b"].Position("a").Revision
		eventually(t, 10*time.Second, "flow to "+name, func() bool { return c.dcs["b"].Position("a").Revision > before+50 })
		eventually(t, 5*time.Second, "acks of "+name+" count", func() bool { return c.peer("a", "b").Health == "healthy" })
		n.endLead()
	}
	c.nodes["b"]["n2"].lead(7)
	stop()
	c.settle(10 * time.Second)
}

// TestIsolation: a peer that takes nothing neither slows the others nor grows anything.
func TestIsolationOfAStuckPeer(t *testing.T) {
	c := newCluster(t, func(cfg *Config) {
		cfg.Health.StallAfter, cfg.Health.StallDownAfter = time.Second, 3*time.Second
		cfg.ApplyTimeout = 2 * time.Second
	}, "a", "b", "c")
	c.healthy(10 * time.Second)
	unblock := c.dcs["c"].block()
	stop := c.load("a", 5*time.Millisecond)
	defer stop()
	eventually(t, 10*time.Second, "c is suspected", func() bool { return c.peer("a", "c").Health == "suspected" })
	for range 20 {
		rev := c.dcs["a"].Position("a").Revision
		if _, err := c.engine("a").Wait(within(t, time.Second), rev, policy.Quorum); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 20*time.Second, "c is down, since it makes no progress", func() bool { return c.peer("a", "c").Health == "down" })
	unblock()
	stop()
	c.settle(10 * time.Second)
	c.healthy(5 * time.Second)
}

// TestDifference: a DC that comes late gets what it lacks from the chain, while the live stream of the
// others goes on.
func TestDifferenceForALateDC(t *testing.T) {
	c := prepareCluster(t, func(cfg *Config) {
		cfg.ReadBytes, cfg.DifferenceBytes, cfg.PublishBytes = 64<<10, 256<<10, 256<<10
		cfg.NATS.Embedded.MaxBytes = 3 << 20
		cfg.PartBytes, cfg.PullBytes = 16<<10, 256<<10
	}, "a", "b", "c")
	for _, dc := range []string{"a", "b"} {
		c.start(dc, "n1")
		c.nodes[dc]["n1"].lead(1)
	}
	for range 600 { // 6 MB, more than the stream holds
		c.dcs["a"].write(t, random(10<<10))
	}
	eventually(t, 30*time.Second, "b has all", func() bool {
		return c.dcs["b"].Position("a").Revision == c.dcs["a"].Position("a").Revision
	})
	stop := c.load("a", 5*time.Millisecond)
	defer stop()
	c.start("c", "n1")
	c.nodes["c"]["n1"].lead(1)
	for c.dcs["c"].Position("a").Revision < 600 {
		rev := c.dcs["a"].Position("a").Revision
		if _, err := c.engine("a").Wait(within(t, 2*time.Second), rev, policy.Any); err != nil {
			t.Fatalf("b waits while c catches up: %v", err)
		}
	}
	stop()
	c.settle(10 * time.Second)
}

func TestTooOldIsVisible(t *testing.T) {
	c := prepareCluster(t, nil, "a", "b")
	for range 10 {
		c.dcs["a"].write(t, []byte("x"))
	}
	c.dcs["a"].trimTo("a", 5)
	for _, dc := range c.names {
		c.start(dc, "n1")
		c.nodes[dc]["n1"].lead(1)
	}
	eventually(t, 10*time.Second, "b says that it needs a snapshot", func() bool {
		s := c.peer("b", "a").Receiver
		return s.State == ReceiverStopped && strings.Contains(s.Reason, "snapshot needed")
	})
	// The other direction works, and so do acks, so a is known to be alive.
	rev := c.dcs["b"].write(t, []byte("y"))
	if _, err := c.engine("b").Wait(within(t, 5*time.Second), rev, policy.All); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "a hears of b, and knows that no frames lead there any more", func() bool {
		s := c.peer("a", "b")
		return s.LastContact != nil && s.Acked != nil && *s.Acked == 0 && s.NeedsSnapshot != "" && s.LagTxns == nil
	})
}

func TestAnotherIncarnationIsRefused(t *testing.T) {
	c := newCluster(t, nil, "a", "b")
	c.dcs["a"].write(t, []byte("x"))
	c.settle(5 * time.Second)
	c.nodes["a"]["n1"].stop()
	c.dcs["a"] = newModel("a") // the same DC with other data
	c.dcs["a"].write(t, []byte("y"))
	c.start("a", "n1")
	c.nodes["a"]["n1"].lead(5)
	eventually(t, 10*time.Second, "b stops this origin", func() bool {
		s := c.peer("b", "a").Receiver
		return s.State == ReceiverStopped && strings.Contains(s.Reason, "incarnation")
	})
	if s := c.peer("a", "b"); s.Acked != nil {
		t.Errorf("an ack about another incarnation counted: %d", *s.Acked)
	}
}
