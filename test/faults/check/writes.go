package check

import (
	"maps"
	"slices"
)

// Outcome is what a write's answer said.
type Outcome int

// The outcomes.
const (
	Unknown   Outcome = iota // no answer, or one that leaves it open
	Acked                    // the policy was met
	Committed                // committed in its own datacenter, the policy not met in time
	Refused                  // certainly not made
)

func (o Outcome) String() string {
	return [...]string{"unknown", "acknowledged", "committed locally", "refused"}[o]
}

// Write is a write of a key that nobody else writes and nobody deletes.
type Write struct {
	DC, Key, Value, Policy string
	Outcome                Outcome
}

// Writes compares what writers were told with the data of every datacenter after everything healed: a write
// that was acknowledged or said to be committed is everywhere, one that was refused is nowhere, and one of
// unknown outcome is everywhere or nowhere.
func Writes(writes []Write, data map[string]map[string]string) []string {
	var bad list
	dcs := slices.Sorted(maps.Keys(data))
	for _, w := range writes {
		var have, lack []string
		for _, dc := range dcs {
			value, ok := data[dc][w.Key]
			switch {
			case !ok:
				lack = append(lack, dc)
			case value != w.Value:
				bad.addf("%s has another value in %s than was written in %s under %s (%s)", w.Key, dc, w.DC, w.Policy, w.Outcome)
			default:
				have = append(have, dc)
			}
		}
		switch {
		case (w.Outcome == Acked || w.Outcome == Committed) && lack != nil:
			bad.addf("%s: written in %s under %s, %s, and missing in %v", w.Key, w.DC, w.Policy, w.Outcome, lack)
		case w.Outcome == Refused && have != nil:
			bad.addf("%s: written in %s under %s, refused, and present in %v", w.Key, w.DC, w.Policy, have)
		case w.Outcome == Unknown && have != nil && lack != nil:
			bad.addf("%s: written in %s under %s, present in %v and missing in %v", w.Key, w.DC, w.Policy, have, lack)
		}
	}
	return bad.problems()
}

// Sight is what a datacenter answered when it was asked for a key.
type Sight int

// The sights.
const (
	Silent  Sight = iota // no answer
	Present              // it has the key
	Absent               // it does not
)

// Promise is an acknowledged write and what the datacenters answered, with linearizable reads, when they were
// asked for it right after the acknowledgement.
type Promise struct {
	Write
	AckedBy []string         // datacenters that the receipt names
	Seen    map[string]Sight // by datacenter
}

// Needs is how many of n datacenters must have committed a write that is acknowledged under a policy.
func Needs(policy string, n int) int {
	switch policy {
	case "ALL":
		return n
	case "QUORUM":
		return n/2 + 1
	case "ANY":
		return min(2, n)
	}
	return 1
}

// Promises checks that a write was committed in as many datacenters as its policy says, and in all that its
// receipt names, when it was acknowledged.
func Promises(promises []Promise, n int) []string {
	var bad list
	for _, p := range promises {
		needs := Needs(p.Policy, n)
		if len(p.AckedBy) < needs {
			bad.addf("%s: acknowledged under %s in %s, but the receipt names only %v", p.Key, p.Policy, p.DC, p.AckedBy)
		}
		absent := 0
		for _, dc := range slices.Sorted(maps.Keys(p.Seen)) {
			if p.Seen[dc] != Absent {
				continue
			}
			absent++
			if slices.Contains(p.AckedBy, dc) {
				bad.addf("%s: the receipt names %s, which did not have it when it was asked right after", p.Key, dc)
			}
		}
		if absent > n-needs {
			bad.addf("%s: acknowledged under %s in %s while %d of %d datacenters did not have it", p.Key, p.Policy, p.DC, absent, n)
		}
	}
	return bad.problems()
}
