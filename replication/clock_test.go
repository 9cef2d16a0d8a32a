package replication

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"geogate/replication/event"
)

// wall is a wall clock that a test sets.
type wall struct{ offset atomic.Int64 }

func (w *wall) now() time.Time        { return time.Now().Round(0).Add(time.Duration(w.offset.Load())) }
func (w *wall) set(off time.Duration) { w.offset.Store(int64(off)) }

// newWalledCluster gives each DC a clock of its own, also to stamp with.
func newWalledCluster(t *testing.T, names ...string) (*cluster, map[string]*wall) {
	walls := map[string]*wall{}
	for _, name := range names {
		walls[name] = &wall{}
	}
	c := prepareCluster(t, func(cfg *Config) {
		// A busy machine must not take five pings' time for one: then clocks are unknown, and a fence is lifted.
		cfg.Wall, cfg.MaxClockSkew, cfg.PingInterval = walls[cfg.Local].now, 500*time.Millisecond, 400*time.Millisecond
	}, names...)
	for _, dc := range names {
		c.dcs[dc].clock = event.NewClock(walls[dc].now)
		c.start(dc, "n1")
		c.nodes[dc]["n1"].lead(1)
	}
	return c, walls
}

func TestClockAheadIsFenced(t *testing.T) {
	c, walls := newWalledCluster(t, "a", "b", "c")
	if err := c.engine("a").Originate(); err != nil || c.engine("a").Clock().State == "fenced" {
		t.Fatalf("before anything is known: %v", err)
	}
	eventually(t, 5*time.Second, "clocks are compared", func() bool { return len(c.engine("a").Clock().Peers) == 2 })
	if s := c.engine("a").Clock(); s.State != "within" || *s.AheadMillis > 400 || s.Refused != "" {
		t.Errorf("%+v, ahead %v", s, *s.AheadMillis)
	}
	walls["a"].set(time.Hour + 30*time.Second)
	eventually(t, 2*time.Second, "a is fenced", func() bool { return errors.Is(c.engine("a").Originate(), ErrClockAhead) })
	text := c.engine("a").Originate().Error()
	for _, want := range []string{"the clock is 1h0m", "ahead of the median of its peers (b, c)", "more than max_clock_skew 500ms", "set the clock of node n1"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
	s := c.engine("a").Clock()
	if s.State != "fenced" || *s.AheadMillis < 3_599_000 || s.Refused != text || s.Events[len(s.Events)-1].To != "fenced" {
		t.Errorf("%+v", s)
	}
	if skew := c.peer("b", "a").SkewMillis; skew == nil {
		t.Error("b knows no clock of a")
	}
	// What the others write arrives, and what a wrote is taken.
	c.dcs["b"].write(t, []byte("x"))
	c.dcs["a"].write(t, []byte("y"))
	c.settle(5 * time.Second)
	for _, other := range []string{"b", "c"} {
		if err := c.engine(other).Originate(); err != nil {
			t.Errorf("%s is fenced: %v", other, err)
		}
		p := c.peer(other, "a")
		if p.StampsAhead == nil || *p.StampsAhead < 3_500_000 || !strings.Contains(reasons(p), "ahead of this node's clock") {
			t.Errorf("%s does not show stamps of the future: %v, %q", other, p.StampsAhead, reasons(p))
		}
		if n := counterOf(t, c.engine(other).metrics.future.WithLabelValues("a")); n != 1 {
			t.Errorf("%s counted %v frames of the future", other, n)
		}
	}
	walls["a"].set(0)
	began := time.Now()
	eventually(t, 10*time.Second, "a is let off", func() bool { return c.engine("a").Originate() == nil })
	if took := time.Since(began); took < clockHold {
		t.Errorf("let off after %s", took)
	}
}

// reasons are those of a peer's events, a line each.
func reasons(p PeerStatus) string {
	var b strings.Builder
	for _, e := range p.HealthEvents {
		b.WriteString(e.Reason + "\n")
	}
	return b.String()
}

func TestClockBehindIsNotFenced(t *testing.T) {
	c, walls := newWalledCluster(t, "a", "b", "c")
	for _, dc := range c.names { // one that knows a's clock only would take it for the right one
		eventually(t, 5*time.Second, dc+" knows both clocks", func() bool { return len(c.engine(dc).Clock().Peers) == 2 })
	}
	walls["a"].set(-time.Hour)
	eventually(t, 5*time.Second, "it shows", func() bool {
		s := c.engine("a").Clock()
		return len(s.Peers) == 2 && *s.AheadMillis < -3_500_000
	})
	eventually(t, 5*time.Second, "b sees it", func() bool { s := c.peer("b", "a").SkewMillis; return s != nil && *s < -3_500_000 })
	for _, dc := range c.names {
		if err := c.engine(dc).Originate(); err != nil {
			t.Errorf("%s: %v", dc, err)
		}
	}
}

// A new leader measures anew, and a peer that is silent is not judged by.
func TestClockIsForgotten(t *testing.T) {
	c, walls := newWalledCluster(t, "a", "b")
	walls["a"].set(time.Hour)
	eventually(t, 5*time.Second, "a is fenced", func() bool { return c.engine("a").Originate() != nil })
	c.links["b"]["n1"].cut()
	c.nodes["a"]["n1"].endLead()
	c.nodes["a"]["n1"].lead(2)
	if err := c.engine("a").Originate(); err != nil {
		t.Errorf("a new lead begins fenced: %v", err)
	}
	if s := c.engine("a").Clock(); s.State != "unknown" || s.AheadMillis != nil {
		t.Errorf("%+v", s)
	}
	c.links["b"]["n1"].heal()
	eventually(t, 10*time.Second, "a is fenced again", func() bool { return c.engine("a").Originate() != nil })
	c.links["b"]["n1"].cut()
	eventually(t, 10*time.Second, "nothing is known", func() bool { return c.engine("a").Clock().State == "unknown" })
	if err := c.engine("a").Originate(); err != nil {
		t.Errorf("fenced by a clock that is not known: %v", err)
	}
}

// The age of what a peer lacks is what it is, whatever the wall clock does.
func TestLagWhenClockIsSet(t *testing.T) {
	for name, off := range map[string]time.Duration{"back": -time.Hour, "ahead": time.Hour} {
		t.Run(name, func(t *testing.T) {
			c, walls := newWalledCluster(t, "a", "b")
			c.dcs["a"].write(t, []byte("x"))
			c.settle(5 * time.Second)
			eventually(t, 5*time.Second, "confirmed", func() bool { p := c.peer("a", "b"); return p.LagTxns != nil && *p.LagTxns == 0 })
			c.links["a"]["n1"].cut()
			began := time.Now()
			c.dcs["a"].write(t, []byte("y"))
			walls["a"].set(off)
			eventually(t, 5*time.Second, "the lag shows", func() bool {
				lag := c.peer("a", "b").LagSeconds
				return lag != nil && *lag > 0.5
			})
			lag, since := *c.peer("a", "b").LagSeconds, time.Since(began).Seconds()
			if lag > since+0.5 || lag < since-0.5 {
				t.Errorf("lag of %v s after %v s", lag, since)
			}
		})
	}
}

func counterOf(t testing.TB, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Counter.GetValue()
}
