package gateway

import "time"

// proof says that whoever has applied the points has all that its subject had committed at a moment.
type proof struct {
	asOf   time.Duration // of Config.Uptime: when the question was sent, so before the answer was true
	points []point
}

// maxProofs bounds those that are kept of one subject while this datacenter is behind.
const maxProofs = 32

// proofs are those of one subject, oldest first.
type proofs []proof

// add takes one more. Of too many every second one goes, neither the oldest nor the newest: what is left tells an age
// less exactly, and never a lower one.
func (p proofs) add(q proof) proofs {
	p = append(p, q)
	if len(p) <= maxProofs {
		return p
	}
	kept := p[:1]
	for i := 2; i < len(p)-1; i += 2 {
		kept = append(kept, p[i])
	}
	return append(kept, p[len(p)-1])
}

// newest is the latest moment of which all is applied; what is older is dropped. ok is false when none is known: then the
// age is unknown, whatever was heard since.
func (p proofs) newest(applied func([]point) bool) (rest proofs, asOf time.Duration, ok bool) {
	for i := len(p) - 1; i >= 0; i-- {
		if applied(p[i].points) {
			return p[i:], p[i].asOf, true
		}
	}
	return p, 0, false
}
