package replication

import (
	"testing"
	"time"
)

// TestHeldFramesWait holds the frames of one origin: the others go on, the origin is asked again only when something
// was applied, and everything arrives in the end.
func TestHeldFramesWait(t *testing.T) {
	c := newCluster(t, func(cfg *Config) { cfg.RetryMax = 100 * time.Millisecond }, "a", "b", "c")
	c.healthy(20 * time.Second)
	m := c.dcs["c"]
	m.hold("a", true)
	for range 20 {
		c.dcs["a"].write(t, []byte("x"))
	}
	eventually(t, 20*time.Second, "a frame of a waits", func() bool { return m.holds() > 0 })
	c.dcs["b"].write(t, []byte("y"))
	eventually(t, 20*time.Second, "b goes on", func() bool { return m.Position("b").Revision == c.dcs["b"].Position("b").Revision })
	if got := m.Position("a").Revision; got != 0 {
		t.Errorf("applied %d of a", got)
	}
	// With nothing applied, nobody asks again, once what b wrote has been answered with one more try.
	asked, since := m.holds(), time.Now()
	eventually(t, 20*time.Second, "nobody asks for a second", func() bool {
		if n := m.holds(); n != asked {
			asked, since = n, time.Now()
		}
		return time.Since(since) > time.Second
	})
	if s := c.peer("c", "a"); s.Receiver.State != ReceiverWaiting {
		t.Errorf("the receiver is %s: %s", s.Receiver.State, s.Receiver.Reason)
	}
	m.hold("a", false)
	m.touch()
	c.settle(20 * time.Second)
	if refused := m.gaps(); refused != 0 {
		t.Errorf("%d frames were taken for gaps", refused)
	}
}
