package replication

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestDeadConnectionIsDialedAnew strands a connection on a link that is fine. Waiting for answers on it would
// take until the request times out, which is for ever here.
func TestDeadConnectionIsDialedAnew(t *testing.T) {
	c := newCluster(t, func(cfg *Config) { cfg.RequestTimeout = 5 * time.Minute }, "a", "b")
	c.healthy(10 * time.Second)
	stop := c.load("a", 5*time.Millisecond)
	defer stop()
	m := c.dcs["b"]
	eventually(t, 5*time.Second, "flow", func() bool { return m.Position("a").Revision > 20 })
	c.links["a"]["n1"].strand()
	stranded := time.Now()
	before := m.Position("a").Revision + 100 // more than may be on the way
	eventually(t, 4*time.Second, "flow on another connection", func() bool { return m.Position("a").Revision > before })
	t.Logf("flow after %s", time.Since(stranded))
	stop()
	c.settle(5 * time.Second)
}

// TestLargeFrameOnASlowLink sends frames of which each message takes longer than two heartbeats, and than the
// time after which a pull counts as stalled.
func TestLargeFrameOnASlowLink(t *testing.T) {
	c := newCluster(t, func(cfg *Config) {
		cfg.PullHeartbeat, cfg.StallAfter, cfg.PartBytes = 100*time.Millisecond, 400*time.Millisecond, 128<<10
	}, "a", "b")
	c.healthy(10 * time.Second)
	c.links["a"]["n1"].throttle(128 << 10) // a message a second
	value := make([]byte, 300<<10)
	rnd := rand.NewChaCha8([32]byte{1})
	_, _ = rnd.Read(value) // never fails
	for range 2 {
		c.dcs["a"].write(t, value)
	}
	c.settle(30 * time.Second)
}
