package replication

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"geogate/replication/wire"
)

// packed is how many live frames a DC has packed under a codec.
func (c *cluster) packed(dc, codec string) int {
	return int(counterOf(c.t, c.engine(dc).metrics.framesPacked.WithLabelValues("live", codec)))
}

// shared is how many live frames of a DC went in the shipment of another one.
func (c *cluster) shared(dc string) int {
	shipments := counterOf(c.t, c.engine(dc).metrics.shipmentsPacked.WithLabelValues("live"))
	return c.packed(dc, "zstd") + c.packed(dc, "s2") + c.packed(dc, "none") - int(shipments)
}

// unread are the frames of an origin that a DC could not read.
func (c *cluster) unread(dc, origin string) int {
	m := c.engine(dc).metrics
	return int(counterOf(c.t, m.refused.WithLabelValues(origin, wire.Kind_KIND_SHIPMENT.String())) + counterOf(c.t, m.pulls.WithLabelValues(origin, "gap")))
}

// allRead fails the test if a DC was sent frames that it can't read, and waits until all have the same.
func (c *cluster) allRead(origin string, by ...string) {
	c.t.Helper()
	for _, dc := range by {
		if n := c.unread(dc, origin); n > 0 {
			c.t.Errorf("%s was sent %d frames that it can't read", dc, n)
		}
	}
	c.settle(5 * time.Second)
}

// old makes a DC one whose build knows no zstd.
func old(dcs ...string) func(*Config) {
	return func(cfg *Config) {
		for _, dc := range dcs {
			cfg.WithoutZstd = cfg.WithoutZstd || cfg.Local == dc
		}
		cfg.RunBytes = 2 << 10 // some runs
	}
}

// apart makes a DC one whose build has one frame in a shipment.
func apart(dcs ...string) func(*Config) {
	return func(cfg *Config) {
		for _, dc := range dcs {
			cfg.withoutBundles = cfg.withoutBundles || cfg.Local == dc
		}
		cfg.BundleInterval = 50 * time.Millisecond
	}
}

// flow writes to a DC until another one has more of it.
func (c *cluster) flow(from string, to ...string) {
	c.t.Helper()
	for i := range 50 {
		c.dcs[from].write(c.t, []byte(strings.Repeat(fmt.Sprintf("value %d, which any codec makes smaller ", i), 10)))
	}
	head := c.dcs[from].Position(from).Revision
	for _, dc := range to {
		eventually(c.t, 15*time.Second, from+" flows to "+dc, func() bool { return c.dcs[dc].Position(from).Revision >= head })
	}
}

func TestFramesGoUnderZstd(t *testing.T) {
	c := newCluster(t, old(), "a", "b", "c")
	c.healthy(10 * time.Second)
	c.flow("a", "b", "c")
	s2 := c.packed("a", "s2")
	c.flow("a", "b", "c")
	if n := c.packed("a", "zstd"); n < 50 || c.packed("a", "s2") != s2 {
		t.Errorf("%d frames under zstd, %d and %d under s2", n, s2, c.packed("a", "s2"))
	}
	for _, dc := range []string{"b", "c"} {
		if s := c.peer("a", dc); s.Codec != "zstd" {
			t.Errorf("a takes %s to take %q", dc, s.Codec)
		}
	}
	c.settle(5 * time.Second)
}

// TestPeerWithoutZstd: one that doesn't take it gets only s2, and so does everyone who shares the stream with it.
func TestPeerWithoutZstd(t *testing.T) {
	c := newCluster(t, old("b"), "a", "b", "c")
	c.healthy(10 * time.Second)
	for _, from := range c.names {
		var to []string
		for _, dc := range c.names {
			if dc != from {
				to = append(to, dc)
			}
		}
		c.flow(from, to...)
		if z, s := c.packed(from, "zstd"), c.packed(from, "s2"); z > 0 && from != "b" || s == 0 {
			t.Errorf("%s has packed %d frames under zstd, %d under s2", from, z, s)
		}
	}
	if b, other := c.peer("a", "b").Codec, c.peer("a", "c").Codec; b != "s2" || other != "zstd" {
		t.Errorf("a takes b to take %q and c %q", b, other)
	}
	c.settle(5 * time.Second)
}

// TestPeerWithoutBundles: one that doesn't take them gets none, nor does anyone who shares the stream with it.
func TestPeerWithoutBundles(t *testing.T) {
	for _, c := range []struct {
		old    []string
		shared bool
	}{{nil, true}, {[]string{"b"}, false}, {[]string{"a"}, false}} {
		t.Run(fmt.Sprint("old ", c.old), func(t *testing.T) {
			k := newCluster(t, apart(c.old...), "a", "b", "c")
			k.healthy(10 * time.Second)
			for range 3 {
				k.flow("a", "b", "c")
			}
			if c.shared {
				eventually(t, 10*time.Second, "frames of a share a shipment", func() bool {
					k.flow("a", "b", "c")
					return k.shared("a") > 0
				})
			} else if n := k.shared("a"); n > 0 {
				t.Errorf("%d frames of a shared a shipment", n)
			}
			if k.packed("a", "zstd") == 0 {
				t.Error("nothing went under zstd")
			}
			k.allRead("a", "b", "c")
		})
	}
}

// TestOldPeerComesBack: while a peer is down, frames go under zstd. When it comes back with a build that can't read those, and
// later with one that can, nobody is stuck.
func TestOldPeerComesBack(t *testing.T) {
	c := prepareCluster(t, old("c"), "a", "b", "c")
	c.comesBack(func() int { return c.packed("a", "zstd") }, old())
}

// TestOldPeerComesBackToBundles is the same with bundles.
func TestOldPeerComesBackToBundles(t *testing.T) {
	c := prepareCluster(t, apart("c"), "a", "b", "c")
	c.comesBack(func() int { return c.shared("a") }, apart())
}

// comesBack has c come up late with an old build, then with a new one, and with the old one again; made is how many frames a has
// shipped in the new form.
func (c *cluster) comesBack(made func() int, now func(*Config)) {
	t, then := c.t, c.tune
	t.Helper()
	for _, dc := range []string{"a", "b"} {
		c.start(dc, "n1")
		c.nodes[dc]["n1"].lead(1)
	}
	eventually(t, 10*time.Second, "a has given c up", func() bool { return c.peer("a", "c").Health == "down" })
	eventually(t, 10*time.Second, "a ships in the new form: c is down and has said nothing", func() bool {
		c.flow("a", "b")
		return made() > 0
	})

	c.start("c", "n1")
	c.nodes["c"]["n1"].lead(1)
	c.flow("a", "b", "c")
	before := made()
	c.flow("a", "b", "c")
	if now := made(); now != before {
		t.Errorf("%d and then %d frames in the new form after c came back", before, now)
	}
	if n := c.unread("c", "a"); n > 0 {
		t.Errorf("c was sent %d frames that it can't read", n)
	}

	c.nodes["c"]["n1"].stop()
	c.tune = now
	c.start("c", "n1")
	c.nodes["c"]["n1"].lead(2)
	eventually(t, 10*time.Second, "a hears what c takes now", func() bool {
		c.flow("a", "b", "c")
		return made() > before
	})

	c.nodes["c"]["n1"].stop()
	c.tune = then
	c.start("c", "n1")
	c.nodes["c"]["n1"].lead(3)
	c.flow("a", "b", "c")
	before = made()
	c.flow("a", "b", "c")
	if now := made(); now != before {
		t.Errorf("%d and then %d frames in the new form after c went back to the old build", before, now)
	}
	c.settle(5 * time.Second)
}

// TestPullsBeginWithARun: a connection is lost in the middle of runs, again and again.
func TestPullsBeginWithARun(t *testing.T) {
	c := newCluster(t, func(cfg *Config) { cfg.RunBytes = 1 << 20 }, "a", "b")
	c.healthy(10 * time.Second)
	for range 5 {
		c.flow("a", "b")
		pulls := c.peer("b", "a").Receiver.Pulls
		c.links["a"]["n1"].sever()
		eventually(t, 10*time.Second, "b pulls again", func() bool { return c.peer("b", "a").Receiver.Pulls > pulls })
	}
	c.flow("a", "b")
	if n := c.unread("b", "a"); n > 0 || c.packed("a", "zstd") == 0 {
		t.Errorf("%d frames not read, %d under zstd", n, c.packed("a", "zstd"))
	}
	c.settle(5 * time.Second)
}
