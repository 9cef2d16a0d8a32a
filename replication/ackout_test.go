package replication

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"geogate/replication/policy"
	"geogate/replication/wire"
)

// acksOf collects the acks of a DC to another from now on.
func (c *cluster) acksOf(from, to string) (stop func() []*wire.Ack) {
	c.t.Helper()
	var mu sync.Mutex
	var acks []*wire.Ack
	e := c.engine(to)
	sub, err := e.nc.Subscribe(ackSubject(to, from), func(m *nats.Msg) {
		ack := &wire.Ack{}
		if err := e.verifiers[from].Open(wire.Kind_KIND_ACK, m.Data, ack); err != nil {
			c.t.Errorf("an ack of %s: %v", from, err)
		}
		mu.Lock()
		defer mu.Unlock()
		acks = append(acks, ack)
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return func() []*wire.Ack {
		if err := sub.Unsubscribe(); err != nil {
			c.t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(acks)
	}
}

// briefly says whether a DC may send brief acks to another.
func (c *cluster) briefly(from, to string) bool {
	k := c.engine(from).current.Load().peers[to].receiver.link.Load()
	return k != nil && k.brief.Load()
}

// oneByOne writes and waits for ALL, n times.
func (c *cluster) oneByOne(dc string, n int) {
	c.t.Helper()
	for range n {
		rev := c.dcs[dc].write(c.t, []byte("x"))
		if _, err := c.engine(dc).Wait(within(c.t, 10*time.Second), rev, policy.All); err != nil {
			c.t.Fatal(err)
		}
	}
}

// TestAcksBetweenHeartbeatsAreBrief: and what they leave out still comes, as often as heartbeats do.
func TestAcksBetweenHeartbeatsAreBrief(t *testing.T) {
	c := newCluster(t, nil, "a", "b", "c")
	c.healthy(10 * time.Second)
	eventually(t, 5*time.Second, "b has heard that a takes brief acks", func() bool { return c.briefly("b", "a") })
	c.oneByOne("a", 1)
	eventually(t, 5*time.Second, "a knows what b has", func() bool { return c.engine("a").Matrix()["b"]["a"] > 0 })
	stop := c.acksOf("b", "a")
	for range 300 {
		c.oneByOne("a", 1)
		if c.engine("a").Matrix()["b"] == nil {
			t.Fatal("a brief ack makes a forget what b has")
		}
	}
	acks := stop()
	briefs, last := 0, -1
	for i, ack := range acks {
		if ack.Brief != (len(ack.Vector) == 0) || ack.Brief && len(ack.Opinions) > 0 || len(ack.Position.Hash) == 0 {
			t.Fatalf("ack %d: brief %v with %d marks, %d opinions, a hash of %d bytes", i, ack.Brief, len(ack.Vector), len(ack.Opinions), len(ack.Position.Hash))
		}
		if ack.Brief {
			briefs++
		} else {
			last = i
		}
	}
	if briefs < len(acks)/2 || last < 0 {
		t.Errorf("of %d acks %d are brief, the last full one is %d", len(acks), briefs, last)
	}
	c.dcs["c"].write(t, []byte("of another origin"))
	eventually(t, 5*time.Second, "a hears how far b is in the chain of c", func() bool {
		return c.engine("a").Matrix()["b"]["c"] == c.dcs["c"].Position("c").Revision
	})
	c.settle(5 * time.Second)
}

// TestAcksToAnOlderBuildAreWhole: who has not said that it takes brief ones gets none.
func TestAcksToAnOlderBuildAreWhole(t *testing.T) {
	// One ping, and the next one comes after all this.
	c := newCluster(t, func(cfg *Config) { cfg.PingInterval = time.Hour }, "a", "b")
	c.oneByOne("a", 1)
	eventually(t, 5*time.Second, "b has heard that a takes brief acks", func() bool { return c.briefly("b", "a") })
	c.engine("b").current.Load().peers["a"].receiver.link.Load().brief.Store(false)
	stop := c.acksOf("b", "a")
	c.oneByOne("a", 50)
	for i, ack := range stop() {
		if ack.Brief || len(ack.Vector) == 0 {
			t.Fatalf("ack %d is brief", i)
		}
	}
}

// TestAcksOfMovableHomesAreWhole: what a move lowers is lowered all together.
func TestAcksOfMovableHomesAreWhole(t *testing.T) {
	c, _ := newHomes(t, nil, "a", "b")
	c.open("a", 10*time.Second)
	eventually(t, 5*time.Second, "b has heard that a takes brief acks", func() bool { return c.briefly("b", "a") })
	stop := c.acksOf("b", "a")
	c.oneByOne("a", 50)
	acks := stop()
	for i, ack := range acks {
		if ack.Brief {
			t.Fatalf("ack %d of %d is brief", i, len(acks))
		}
	}
	if len(acks[len(acks)-1].Vector) == 0 { // the first one may come before anything is applied
		t.Error("no marks in the last ack")
	}
}
