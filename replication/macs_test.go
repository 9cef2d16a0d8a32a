package replication

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"geogate/replication/wire"
)

// unsigned makes a DC one whose build knows no MACs.
func unsigned(dcs ...string) func(*Config) {
	return func(cfg *Config) {
		for _, dc := range dcs {
			cfg.withoutMACs = cfg.withoutMACs || cfg.Local == dc
		}
	}
}

// withMACs is how many of the shipments in a DC's stream have MACs, and how many have a signature.
func (c *cluster) withMACs(dc string) (macs, signatures int) {
	c.t.Helper()
	ctx := within(c.t, 5*time.Second)
	stream, err := c.engine(dc).js.Stream(ctx, streamName(dc))
	if err != nil {
		return 0, 0 // it is being made anew
	}
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		if err != nil {
			return 0, 0
		}
		macs, signatures = tally(c.t, partOf(c.t, m.Data).Data, macs, signatures)
	}
	return macs, signatures
}

func partOf(t testing.TB, b []byte) *wire.Part {
	t.Helper()
	var p wire.Part
	if err := proto.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

// tally counts a message by how it says whose it is.
func tally(t testing.TB, whole []byte, macs, signatures int) (int, int) {
	t.Helper()
	var s wire.Signed
	if err := proto.Unmarshal(whole, &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Macs) > 0 {
		macs++
	}
	if len(s.Signature) > 0 {
		signatures++
	}
	return macs, signatures
}

// TestPeerWithoutMACs: shipments have MACs where all who share the stream take them, and acks where the two do.
func TestPeerWithoutMACs(t *testing.T) {
	for _, c := range []struct {
		old       []string
		shipments bool            // of a, with MACs
		acks      map[string]bool // to a, by who sends them
	}{
		{nil, true, map[string]bool{"b": true, "c": true}},
		{[]string{"b"}, false, map[string]bool{"b": false, "c": true}},
		{[]string{"a"}, false, map[string]bool{"b": false, "c": false}},
	} {
		t.Run(fmt.Sprint("old ", c.old), func(t *testing.T) {
			k := newCluster(t, unsigned(c.old...), "a", "b", "c")
			k.healthy(10 * time.Second)
			eventually(t, 10*time.Second, "pongs have said what is taken", func() bool {
				k.flow("a", "b", "c")
				for _, dc := range []string{"b", "c"} {
					if l := k.nodes[dc]["n1"].engine.current.Load().peers["a"].receiver.link.Load(); l == nil || l.macs.Load() != c.acks[dc] {
						return false
					}
				}
				return true
			})
			sub, err := k.engine("a").nc.SubscribeSync(ackSubject("a", "") + "*")
			if err != nil {
				t.Fatal(err)
			}
			k.flow("a", "b", "c")
			heard := map[string]bool{}
			for len(heard) < 2 {
				m, err := sub.NextMsg(5 * time.Second)
				if err != nil {
					t.Fatal(err)
				}
				from := lastToken(m.Subject)
				heard[from] = true
				if macs, signatures := tally(t, m.Data, 0, 0); (macs == 1) != c.acks[from] || (signatures == 1) == c.acks[from] {
					t.Errorf("an ack of %s has %d MACs and %d signatures", from, macs, signatures)
				}
			}
			macs, signatures := k.withMACs("a")
			if c.shipments && (macs == 0) || !c.shipments && (macs > 0 || signatures == 0) {
				t.Errorf("%d shipments have MACs, %d a signature", macs, signatures)
			}
			k.allRead("a", "b", "c")
		})
	}
}

// TestOldPeerComesBackToMACs is the same with MACs.
func TestOldPeerComesBackToMACs(t *testing.T) {
	c := prepareCluster(t, unsigned("c"), "a", "b", "c")
	c.comesBack(func() int { macs, _ := c.withMACs("a"); return macs }, unsigned())
}
