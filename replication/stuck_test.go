package replication

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// tooLong is more than any test waits.
const tooLong = 5 * time.Minute

// flood writes to a DC's connection to an origin until a write waits for room. The channel is closed when one has
// failed.
func (c *cluster) flood(dc, origin string) (failed <-chan struct{}) {
	k := c.engine(dc).current.Load().peers[origin].receiver.link.Load()
	wrote, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for more := make([]byte, 64<<10); ; {
			if k.nc.Publish(ackSubject(origin, dc), more) != nil {
				return
			}
			select {
			case wrote <- struct{}{}:
			case <-k.lost.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-wrote:
		case <-over:
			c.t.Fatal("the connection has ended instead of being full")
		case <-time.After(time.Second):
			return over // what fits into the buffers of both sides was written long before
		}
	}
}

// TestStuckWriteHoldsNobodyUp has a write wait for room on a connection that nothing comes from any more. The client's
// lock is held by that write until it times out, which is for ever here, and whatever else is done with the
// connection waits for the lock: so what gives it up must close the socket first.
func TestStuckWriteHoldsNobodyUp(t *testing.T) {
	var said logged
	c := newCluster(t, func(cfg *Config) {
		cfg.RequestTimeout, cfg.StallAfter, cfg.SendTimeout = tooLong, tooLong, tooLong
		cfg.PullHeartbeat = 1500 * time.Millisecond // so that it is noticed when the write waits
		cfg.Logger = slog.New(slog.NewTextHandler(&said, nil))
	}, "a", "b")
	c.healthy(20 * time.Second)
	stop := c.load("a", 5*time.Millisecond)
	defer stop()
	m := c.dcs["b"]
	eventually(t, 20*time.Second, "flow", func() bool { return m.Position("a").Revision > 20 })
	c.links["a"]["n1"].fill()
	failed := c.flood("b", "a")
	before := m.Position("a").Revision
	eventually(t, 20*time.Second, "flow on another connection", func() bool { return m.Position("a").Revision > before })
	<-failed
	stop()
	c.settle(20 * time.Second)
}

// TestLeadEndsWhileItConnects ends a lead that waits for the first words of an origin's server.
func TestLeadEndsWhileItConnects(t *testing.T) {
	c := prepareCluster(t, func(cfg *Config) { cfg.DialTimeout = time.Minute }, "a", "b")
	link := c.links["a"]["n1"]
	link.cut()
	n := c.start("b", "n1")
	n.lead(1)
	eventually(t, 20*time.Second, "b dials", func() bool {
		link.mu.Lock()
		defer link.mu.Unlock()
		return len(link.conns) > 0
	})
	over := make(chan struct{})
	go func() {
		defer close(over)
		n.endLead()
	}()
	select {
	case <-over:
	case <-time.After(20 * time.Second):
		t.Fatal("the lead has not ended 20 s after it was to")
	}
}

// TestFailedAttemptIsItsPause wants the next attempt at once after one that took as long as its pause: half a second
// more would pass after each healing otherwise.
func TestFailedAttemptIsItsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for attempt, want := range map[time.Duration][]time.Duration{
			0:                      {0, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 500 * time.Millisecond},
			300 * time.Millisecond: {0, 0, 0, 100 * time.Millisecond, 200 * time.Millisecond},
			time.Second:            {0, 0, 0, 0, 0},
		} {
			b := backoff{min: 100 * time.Millisecond, max: 500 * time.Millisecond}
			for i := range want {
				began := time.Now()
				b.waitSince(t.Context(), attempt)
				if got := time.Since(began); got != want[i] {
					t.Errorf("pause %d after attempts of %s: %s, want %s", i+1, attempt, got, want[i])
				}
			}
		}
	})
}
