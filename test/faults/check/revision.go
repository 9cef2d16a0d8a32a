package check

import (
	"cmp"
	"slices"
	"time"
)

// Sample is a revision that a node answered a linearizable read with.
type Sample struct {
	Node       string
	Start, End time.Duration // of the read, on one clock
	Revision   int64
}

// Revisions checks that no revision of a datacenter ran back: a read that started after another one had ended
// never answers a lower revision, whichever nodes were asked.
func Revisions(samples []Sample) []string {
	var bad list
	byStart, byEnd := slices.Clone(samples), slices.Clone(samples)
	slices.SortFunc(byStart, func(a, b Sample) int { return cmp.Compare(a.Start, b.Start) })
	slices.SortFunc(byEnd, func(a, b Sample) int { return cmp.Compare(a.End, b.End) })
	var highest Sample
	ended := 0
	for _, s := range byStart {
		for ; ended < len(byEnd) && byEnd[ended].End < s.Start; ended++ {
			if byEnd[ended].Revision > highest.Revision {
				highest = byEnd[ended]
			}
		}
		if s.Revision < highest.Revision {
			bad.addf("%s answered revision %d to a read from %s to %s, but %s had answered %d by %s",
				s.Node, s.Revision, s.Start, s.End, highest.Node, highest.Revision, highest.End)
		}
	}
	return bad.problems()
}
