package replication

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"geogate/replication/event"
)

func TestLedger(t *testing.T) {
	c, _ := newHomes(t, nil, "a", "b", "c")
	c.open("a", 10*time.Second)
	c.dcs["a"].write(t, []byte("everywhere"))
	c.settle(10 * time.Second)
	unblockB, unblockC := c.dcs["b"].block(), c.dcs["c"].block()
	defer unblockB()
	home := &event.Home{Keyspace: locks, Epoch: 1}
	c.dcs["a"].write(t, []byte("of a keyspace that every datacenter writes, within the prefix or not"))
	c.dcs["a"].writeAs(t, &event.Home{Keyspace: locks + "nested/", Epoch: 1}, []byte("of another home"))
	c.dcs["a"].writeAs(t, home, []byte("1"), []byte("2"), []byte("3"))
	ledger := func(forced bool) Ledger {
		x, err := c.engine("b").Ledger(within(t, 10*time.Second), locks, forced)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	x := ledger(false)
	if x.Txns == nil || *x.Txns != 3 || *x.Bytes != 3*int64(len("key-0")+1) || fmt.Sprint(x.Keys) != "[key-0 key-1 key-2]" || x.Oldest == nil || x.Kept != 1 || x.Needed != 2 || fmt.Sprint(x.Reached) != "[b a c]" {
		t.Fatalf("the home answers: %+v", x)
	}
	if !strings.Contains(fmt.Sprint(x.Notes), "a switchover would lose nothing") {
		t.Errorf("notes %v", x.Notes)
	}
	eventually(t, 10*time.Second, "b hears how far a is", func() bool { x := ledger(false); return x.Head != nil && *x.Head == 6 })
	unblockC() // c gets them: a failover with c loses nothing, one by force does
	eventually(t, 10*time.Second, "b hears that c has them", func() bool { return ledger(false).Kept == 6 })
	c.nodes["a"]["n1"].stop()
	eventually(t, 10*time.Second, "a is not heard any more", func() bool { return len(ledger(false).Reached) == 2 })
	x = ledger(false)
	if x.Txns != nil || x.Bytes != nil || x.Oldest != nil || x.AtMost == nil || *x.AtMost != 0 || x.KeptBy != "c" {
		t.Errorf("the home is gone, c has all that is known of: %+v", x)
	}
	if !strings.Contains(fmt.Sprint(x.Notes), "unknown, and lost") {
		t.Errorf("notes %v", x.Notes)
	}
	if x = ledger(true); x.AtMost == nil || *x.AtMost != 5 || x.KeptBy != "b" {
		t.Errorf("by force: %+v", x)
	}
}

// TestSwitchoverFromElsewhere asks a DC that is not the home, whose moves it then shows.
func TestSwitchoverFromElsewhere(t *testing.T) {
	c, _ := newHomes(t, nil, "a", "b", "c")
	c.open("a", 10*time.Second)
	ctx := within(t, 20*time.Second)
	eventually(t, 10*time.Second, "c knows the home, and reaches it", func() bool {
		return c.engine("c").Standing(locks).Epoch == 1 && c.engine("c").current.Load().peers["a"].receiver.link.Load() != nil
	})
	s, err := c.engine("c").Switchover(ctx, SwitchoverRequest{Keyspace: locks, To: "b"})
	if err != nil || s.DC != "a" || s.Move.To != "b" {
		t.Fatalf("%+v, %v", s, err)
	}
	eventually(t, 10*time.Second, "it is over", func() bool {
		moves, err := c.engine("c").Moves(ctx, s.DC, locks)
		return err == nil && len(moves) > 0 && moves[len(moves)-1].Result == "moved"
	})
	c.open("b", 10*time.Second)
	eventually(t, 10*time.Second, "c knows", func() bool { return c.engine("c").Standing(locks).Home.DC == "b" })
	if _, err := c.engine("c").Switchover(ctx, SwitchoverRequest{Keyspace: locks, To: "b"}); err == nil || !strings.Contains(err.Error(), "b is home") {
		t.Errorf("to where it is: %v", err)
	}
	if _, err := c.engine("c").Switchover(ctx, SwitchoverRequest{Keyspace: "/no/", To: "b"}); err == nil {
		t.Error("a keyspace that is not there")
	}
	status, err := c.engine("b").HomesStatus()
	if err != nil || len(status) != 1 || !status[0].Open || status[0].Lease == nil || status[0].Configured != "a" || len(status[0].Peers) != 2 || status[0].Peers[0].Txns == nil {
		t.Errorf("status of the home: %+v, %v", status, err)
	}
	if status, _ = c.engine("a").HomesStatus(); status[0].Open || status[0].Why == "" || status[0].Peers[0].Txns != nil {
		t.Errorf("status elsewhere: %+v", status)
	}
}
