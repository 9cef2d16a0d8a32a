package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Policy says in how many datacenters a write must be committed before it is answered.
type Policy uint8

// The policies, weakest first, so that a greater one promises at least as much. N counts the local DC.
const (
	Async  Policy = iota // the local DC
	Any                  // the local DC and at least one peer
	Quorum               // a majority of the N, floor(N/2)+1
	All                  // all N
)

var names = [...]string{Async: "ASYNC", Any: "ANY", Quorum: "QUORUM", All: "ALL"}

// ErrUnknown marks a name that is no policy.
var ErrUnknown = errors.New("unknown policy")

// Parse reads a policy's name in any case.
func Parse(s string) (Policy, error) {
	for p, name := range names {
		if strings.EqualFold(s, name) {
			return Policy(p), nil
		}
	}
	return 0, fmt.Errorf("%w %q: use one of ALL, QUORUM, ANY, ASYNC", ErrUnknown, s)
}

func (p Policy) String() string {
	if int(p) < len(names) {
		return names[p]
	}
	return fmt.Sprintf("Policy(%d)", uint8(p))
}

// MarshalText makes a policy a word in YAML and JSON.
func (p Policy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (p *Policy) UnmarshalText(b []byte) error {
	v, err := Parse(string(b))
	if err == nil {
		*p = v
	}
	return err
}

// Needs is the number of DCs out of n, the local one counted, that must have committed a write. ANY in a
// cluster of one DC needs two and can't be met.
func (p Policy) Needs(n int) int {
	switch p {
	case Any:
		return 2
	case Quorum:
		return n/2 + 1
	case All:
		return n
	default:
		return 1
	}
}

// Met says whether a write committed in `committed` of n DCs, the local one counted, satisfies p.
func (p Policy) Met(n, committed int) bool { return committed >= p.Needs(n) }

// MetRevision is the highest local revision that satisfies p, given what each peer has confirmed and
// `local`, the highest that is committed here. The number of DCs is len(confirmed)+1. It sorts confirmed.
func (p Policy) MetRevision(local int64, confirmed []int64) int64 {
	need := p.Needs(len(confirmed)+1) - 1
	if need <= 0 {
		return local
	}
	if need > len(confirmed) {
		return 0
	}
	slices.Sort(confirmed)
	return min(local, confirmed[len(confirmed)-need])
}
