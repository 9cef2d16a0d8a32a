package replication

import (
	"errors"
	"strings"
	"testing"
	"time"

	"geogate/replication/policy"
)

func TestBreakerLetsAFewTry(t *testing.T) {
	c := newCluster(t, func(cfg *Config) {
		cfg.HalfOpenWrites = 2
		cfg.HeartbeatInterval, cfg.Health.SuspectAfter, cfg.Health.DownAfter = 100*time.Millisecond, 2*time.Second, 3*time.Second // a busy machine is no dead peer
	}, "a", "b")
	a := c.engine("a")
	admit := func() (func(), error) { return a.Admit(policy.All) }
	state := func(want string) {
		t.Helper()
		eventually(t, 10*time.Second, "the breaker is "+want, func() bool { return c.peer("a", "b").Breaker == want })
	}
	c.dcs["a"].write(t, []byte("x"))
	c.settle(5 * time.Second)
	state("closed")
	eventually(t, 10*time.Second, "a to know that b has x", func() bool { lag := c.peer("a", "b").LagTxns; return lag != nil && *lag == 0 })
	for range 10 {
		if _, err := admit(); err != nil {
			t.Fatal("closed: ", err)
		}
	}
	unblock := c.dcs["b"].block()
	c.dcs["a"].write(t, []byte("y"))
	c.links["a"]["n1"].cut()
	state("open")
	if _, err := admit(); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "down: b since") {
		t.Errorf("open: %v", err)
	}
	c.links["a"]["n1"].heal()
	state("half-open")
	eventually(t, 5*time.Second, "b sends heartbeats again", func() bool { return c.peer("a", "b").Health == "healthy" })
	done, err := admit()
	if err != nil {
		t.Fatal("the first: ", err)
	}
	if _, err := admit(); err != nil {
		t.Fatal("the second: ", err)
	}
	if _, err := admit(); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "2 writes (half_open_writes) try them already") {
		t.Errorf("the third: %v", err)
	}
	if n := counterOf(t, a.metrics.breakerRefused); n != 1 {
		t.Errorf("counted %v", n)
	}
	if err := a.Check(policy.All); err != nil {
		t.Errorf("check: %v", err)
	}
	done()
	if _, err := admit(); err != nil {
		t.Errorf("after one is done: %v", err)
	}
	if s := c.peer("a", "b").Breaker; s != "half-open" {
		t.Errorf("heartbeats without progress make it %s", s)
	}
	unblock()
	state("closed")
	if _, err := admit(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if r := reasons(c.peer("a", "b")); !strings.Contains(r, "breaker open: ") || !strings.Contains(r, "breaker half-open: ") || !strings.Contains(r, "breaker closed: ") {
		t.Errorf("events %q", r)
	}
}

// A link whose sockets stay open and that moves nothing is noticed within 5 s, on both sides, and data flows
// within 2 s of its healing.
func TestLinkThatIsUpButDoesNotMove(t *testing.T) {
	const noticed, flows = 5 * time.Second, 2 * time.Second
	for name, cut := range map[string][]string{"both connections": {"a", "b"}, "the origin's": {"a"}, "the peer's": {"b"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, nil, "a", "b")
			c.dcs["a"].write(t, []byte("before"))
			c.dcs["b"].write(t, []byte("before"))
			c.settle(10 * time.Second)
			began := time.Now()
			for _, dc := range cut {
				c.links[dc]["n1"].cut()
			}
			lost := "a" // whose frames do not arrive at the other
			if cut[0] == "b" {
				lost = "b"
			}
			other := map[string]string{"a": "b", "b": "a"}[lost]
			last := c.dcs[lost].write(t, []byte("during"))
			eventually(t, noticed, "it is noticed", func() bool {
				return c.peer(lost, other).Health != "healthy" && c.peer(other, lost).Receiver.State != ReceiverPulling
			})
			t.Logf("noticed after %s", time.Since(began))
			eventually(t, noticed, "it is down", func() bool { return c.peer(lost, other).Health == "down" })
			if took := time.Since(began); took > noticed {
				t.Errorf("down after %s", took)
			}
			began = time.Now()
			for _, dc := range cut {
				c.links[dc]["n1"].heal()
			}
			last = max(last, c.dcs[lost].write(t, []byte("after")))
			eventually(t, flows, "data flows", func() bool { return c.dcs[other].Position(lost).Revision >= last })
			t.Logf("data flows after %s", time.Since(began))
			eventually(t, flows, "it is confirmed", func() bool { s := c.peer(lost, other).Acked; return s != nil && *s >= last })
		})
	}
}
