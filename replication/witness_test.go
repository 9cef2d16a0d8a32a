package replication

import (
	"slices"
	"testing"
	"time"

	"geogate/replication/policy"
)

// TestWitness has two DCs with data and a witness: it votes, so that losing one of the two leaves a home; and it
// neither gets frames nor counts for a policy.
func TestWitness(t *testing.T) {
	c, all := newHomes(t, func(cfg *Config) {
		cfg.Witness = cfg.Local == "w"
		cfg.Snapshots = nil
		for i := range cfg.Peers {
			cfg.Peers[i].Witness = cfg.Peers[i].Name == "w"
		}
	}, "a", "b", "w")
	c.open("a", 10*time.Second)
	rev := c.dcs["a"].write(t, []byte("x"))
	for _, p := range []policy.Policy{policy.Quorum, policy.All} {
		got, err := c.engine("a").Wait(within(t, 10*time.Second), rev, p)
		if err != nil || !slices.Equal(got, []string{"a", "b"}) {
			t.Fatalf("%s of the two with data: %v, %v", p, got, err)
		}
	}
	eventually(t, 10*time.Second, "the witness is heard and healthy everywhere", func() bool {
		a, w := c.peer("a", "w"), c.peer("w", "a")
		return a.Witness && a.Health == "healthy" && a.Receiver.State == ReceiverWitness && w.Health == "healthy" && c.peer("b", "w").Health == "healthy"
	})
	eventually(t, 10*time.Second, "what both with data have is confirmed", func() bool {
		m, _ := c.dcs["a"].confirmed()
		return len(m) == 2 && m["b"]["a"] == rev
	})
	if p := c.dcs["w"].Position("a"); p.Revision != 0 {
		t.Errorf("the witness has applied up to %d", p.Revision)
	}
	life := all["a"].Life()
	c.nodes["a"]["n1"].stop()
	r, err := c.engine("b").Homes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.FailOver(locks, 0); err != nil {
		t.Fatal(err)
	}
	c.open("b", 20*time.Second)
	if at := all["b"].AppliedOf(life); at != rev {
		t.Errorf("b opened with %d of %d", at, rev)
	}
}
