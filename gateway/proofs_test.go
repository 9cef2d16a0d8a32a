package gateway

import (
	"math/rand/v2"
	"testing"
	"time"

	"geogate/replication/homes"
)

func TestProofs(t *testing.T) {
	at := func(revision int64) []point { return []point{{homes.Life{DC: "a", Incarnation: 1}, revision}} }
	have := int64(0)
	applied := func(ps []point) bool { return ps[0].revision <= have }
	var p proofs
	if _, _, ok := p.newest(applied); ok {
		t.Error("an age is known of which nothing was heard")
	}
	p = p.add(proof{10, at(5)}).add(proof{20, at(5)}).add(proof{30, at(7)})
	if _, _, ok := p.newest(applied); ok {
		t.Error("an age is known of what was not applied")
	}
	for _, c := range []struct {
		have int64
		asOf time.Duration
		left int
	}{{6, 20, 2}, {6, 20, 2}, {9, 30, 1}} {
		have = c.have
		var asOf time.Duration
		var ok bool
		if p, asOf, ok = p.newest(applied); !ok || asOf != c.asOf || len(p) != c.left {
			t.Errorf("with %d applied: as of %d, %v, %d left", have, asOf, ok, len(p))
		}
	}
}

// However long a datacenter is behind, what is kept is bounded, and no age is told that is lower than the true one.
func TestProofsAreBounded(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var p proofs
	head, have := int64(0), int64(0)
	covered := map[int64]time.Duration{} // by revision: the last moment that it covers
	for now := time.Duration(1); now < 5000; now++ {
		head += r.Int64N(3)
		covered[head] = now
		p = p.add(proof{now, []point{{homes.Life{}, head}}})
		if len(p) > maxProofs {
			t.Fatalf("%d are kept", len(p))
		}
		if r.IntN(100) == 0 {
			have += r.Int64N(head - have + 1)
		}
		var asOf time.Duration
		var ok bool
		p, asOf, ok = p.newest(func(ps []point) bool { return ps[0].revision <= have })
		truth := time.Duration(0)
		for revision, moment := range covered {
			if revision <= have {
				truth = max(truth, moment)
			}
		}
		if ok && asOf > truth {
			t.Fatalf("at %d: as of %d, truly %d", now, asOf, truth)
		}
		if have == head && (!ok || asOf != now) {
			t.Fatalf("at %d all is applied, and it is told as of %d, %v", now, asOf, ok)
		}
	}
}
