package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Survivors says what of a lost datacenter's writes the others must still have: what more than that datacenter
// had promised, and what a living one was seen to have. All else of it may be gone, though not in part.
func Survivors(writes []Write, promises []Promise, lost []string) []Write {
	seen := map[string]bool{}
	for _, p := range promises {
		for dc, s := range p.Seen {
			seen[p.Key] = seen[p.Key] || s == Present && !slices.Contains(lost, dc)
		}
	}
	out := slices.Clone(writes)
	for i, w := range out {
		promised := w.Outcome == Acked && w.Policy != "ASYNC"
		if slices.Contains(lost, w.DC) && w.Outcome != Refused && !promised && !seen[w.Key] {
			out[i].Outcome = Unknown
		}
	}
	return out
}

// Prefixes checks that no datacenter has a hole: when it has a write, it has all that its writer had been
// told were committed before. Keys of a writer sort in the order of its writes.
func Prefixes(writes []Write, data map[string]map[string]string) []string {
	var bad list
	sorted := slices.Clone(writes)
	slices.SortFunc(sorted, func(a, b Write) int {
		return cmp.Or(cmp.Compare(a.DC, b.DC), cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Key, b.Key))
	})
	for _, dc := range slices.Sorted(maps.Keys(data)) {
		var hole *Write
		for i, w := range sorted {
			if hole != nil && (hole.DC != w.DC || hole.Policy != w.Policy) {
				hole = nil
			}
			_, has := data[dc][w.Key]
			switch {
			case has && hole != nil:
				bad.addf("%s has %s and lacks %s, which was written before", dc, w.Key, hole.Key)
				hole = nil
			case !has && hole == nil && (w.Outcome == Acked || w.Outcome == Committed):
				hole = &sorted[i]
			}
		}
	}
	return bad.problems()
}

// Compacted checks how far history is gone: as far as it was answered, and no further than it was asked.
func Compacted(at, done, asked int64) []string {
	if at < done || at > asked {
		return []string{fmt.Sprintf("history is gone up to %d, want at least %d, which was answered, and at most %d, which was asked for", at, done, asked)}
	}
	return nil
}
