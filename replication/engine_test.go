package replication

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"geogate/replication/policy"
)

func TestTwoDCs(t *testing.T) {
	c := newCluster(t, nil, "a", "b")
	for i := range 50 {
		c.dcs["a"].write(t, []byte("value"), []byte{byte(i)})
		c.dcs["b"].write(t, []byte("value"))
	}
	last := c.dcs["a"].Position("a").Revision
	got, err := c.engine("a").Wait(within(t, 10*time.Second), last, policy.All)
	if err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Fatalf("wait for ALL: %v, %v", got, err)
	}
	if at := c.dcs["b"].Position("a").Revision; at < last {
		t.Errorf("ALL was met, but b has only %d of %d", at, last)
	}
	c.settle(5 * time.Second)
	eventually(t, 3*time.Second, "healthy, lag 0, round trip known", func() bool {
		s := c.peer("a", "b")
		return s.Health == "healthy" && s.LagTxns != nil && *s.LagTxns == 0 && s.RTTMillis != nil && s.Receiver.State == ReceiverPulling
	})
}

func TestPoliciesOfThreeDCs(t *testing.T) {
	c := newCluster(t, nil, "a", "b", "c")
	a := c.engine("a")
	for _, dc := range c.names {
		for _, other := range c.names {
			if dc != other {
				eventually(t, 10*time.Second, "all healthy", func() bool { return c.peer(dc, other).Health == "healthy" })
			}
		}
	}
	unblock := c.dcs["c"].block()
	rev := c.dcs["a"].write(t, []byte("x"))
	if got, err := a.Wait(within(t, 5*time.Second), rev, policy.Async); err != nil || got[0] != "a" {
		t.Fatalf("ASYNC: %v, %v", got, err)
	}
	if got, err := a.Wait(within(t, 5*time.Second), rev, policy.Quorum); err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Fatalf("QUORUM: %v, %v", got, err)
	}
	if got, err := a.Wait(within(t, 5*time.Second), rev, policy.Any); err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Fatalf("ANY: %v, %v", got, err)
	}
	got, err := a.Wait(within(t, 200*time.Millisecond), rev, policy.All)
	if !errors.Is(err, ErrNotMet) || !errors.Is(err, context.DeadlineExceeded) || !slices.Equal(got, []string{"a", "b"}) {
		t.Fatalf("ALL with c blocked: %v, %v", got, err)
	}
	unblock()
	if got, err := a.Wait(within(t, 5*time.Second), rev, policy.All); err != nil || !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Fatalf("ALL: %v, %v", got, err)
	}
	c.settle(5 * time.Second)
}

func TestWaitForWhatIsNotCommittedYet(t *testing.T) {
	c := newCluster(t, nil, "a", "b")
	if got, err := c.engine("a").Wait(within(t, 100*time.Millisecond), 1, policy.Async); !errors.Is(err, ErrNotMet) {
		t.Fatalf("revision 1 before it is there: %v, %v", got, err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.engine("a").Wait(within(t, 10*time.Second), 1, policy.All)
		done <- err
	}()
	c.dcs["a"].write(t, []byte("x"))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestLeadEndsWaits(t *testing.T) {
	c := newCluster(t, nil, "a", "b")
	n := c.nodes["a"]["n1"]
	unblock := c.dcs["b"].block()
	defer unblock()
	rev := c.dcs["a"].write(t, []byte("x"))
	done := make(chan error, 1)
	go func() {
		_, err := n.engine.Wait(context.Background(), rev, policy.All)
		done <- err
	}()
	eventually(t, 5*time.Second, "it waits", func() bool { return n.engine.current.Load().tracker.Waiting() == 1 })
	n.endLead()
	if err := <-done; !errors.Is(err, ErrNotLeading) {
		t.Fatalf("wait ended with %v", err)
	}
	if err := n.engine.Check(policy.All); !errors.Is(err, ErrNotLeading) {
		t.Errorf("check: %v", err)
	}
	if s := c.peer("a", "b"); s.Health != "unknown" || s.LagTxns != nil || s.Acked != nil || s.LagSeconds != nil {
		t.Errorf("a node that does not lead claims to know: %+v", s)
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := prepareCluster(t, func(cfg *Config) { cfg.NATS.Embedded.ListenAddr = l.Addr().String() }, "a", "b")
	_, err = Open(c.config("a", "n1", t.TempDir()))
	if !errors.Is(err, ErrListen) || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Fatalf("got %v", err)
	}
}

// TestAloneRunsNoNATS: what has nobody to talk to opens no port and keeps no stream, and leads and ends like others.
func TestAloneRunsNoNATS(t *testing.T) {
	c := newCluster(t, nil, "a")
	e := c.engine("a")
	if addr := e.Addr(); addr != "" {
		t.Errorf("it listens on %s", addr)
	}
	if files, err := os.ReadDir(c.nodes["a"]["n1"].dir); err != nil || len(files) > 0 {
		t.Errorf("it has files: %v, %v", files, err)
	}
	if err := e.Check(policy.All); err != nil {
		t.Errorf("it can't be alone: %v", err)
	}
}

func TestConfirmNeedsEveryRow(t *testing.T) {
	c := prepareCluster(t, nil, "a", "b", "c")
	for _, dc := range []string{"a", "b"} {
		c.start(dc, "n1")
		c.nodes[dc]["n1"].lead(1)
	}
	rev := c.dcs["a"].write(t, []byte("x"))
	if _, err := c.engine("a").Wait(within(t, 10*time.Second), rev, policy.Any); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * 100 * time.Millisecond) // five confirm intervals in which nothing may be confirmed
	if m, n := c.dcs["a"].confirmed(); n != 0 {
		t.Fatalf("confirmed %v without c", m)
	}
	eventually(t, 10*time.Second, "what b has is heard all the same", func() bool {
		m := c.dcs["a"].known()
		return len(m) == 2 && m["a"]["a"] == rev && m["b"]["a"] == rev
	})
	c.start("c", "n1")
	c.nodes["c"]["n1"].lead(1)
	eventually(t, 10*time.Second, "all rows confirmed", func() bool {
		m, _ := c.dcs["a"].confirmed()
		return len(m) == 3 && m["a"]["a"] == rev && m["b"]["a"] == rev && m["c"]["a"] == rev
	})
}

func TestSingleDC(t *testing.T) {
	c := newCluster(t, nil, "a")
	rev := c.dcs["a"].write(t, []byte("x"))
	for _, p := range []policy.Policy{policy.Async, policy.Quorum, policy.All} {
		if got, err := c.engine("a").Wait(within(t, time.Second), rev, p); err != nil || len(got) != 1 {
			t.Errorf("%s: %v, %v", p, got, err)
		}
		if err := c.engine("a").Check(p); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
	if err := c.engine("a").Check(policy.Any); !errors.Is(err, ErrUnreachable) {
		t.Errorf("ANY alone: %v", err)
	}
}
