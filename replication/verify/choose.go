package verify

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"geogate/replication/event"
)

// ErrUndecided says that no rule tells which copy of a key is right.
var ErrUndecided = errors.New("no rule tells which copy is right")

// Choose returns the datacenter that has the right copy of a key. The later stamp wins, as when frames are
// merged. Copies of the same write with different contents, and a key of which some know nothing, are decided
// by the majority of the datacenters; without one, by the copy of the datacenter where the write was made.
// `all` is the number of datacenters.
func Choose(copies map[string]Copy, all int) (string, error) {
	names := slices.Sorted(maps.Keys(copies))
	var latest []string
	nothing := false
	for _, name := range names {
		c := copies[name]
		if !c.Known {
			nothing = true
			continue
		}
		if len(latest) > 0 {
			top := copies[latest[0]]
			if event.Later(top.Stamp, top.Origin, c.Stamp, c.Origin) {
				continue
			}
			if event.Later(c.Stamp, c.Origin, top.Stamp, top.Origin) {
				latest = latest[:0]
			}
		}
		latest = append(latest, name)
	}
	if len(latest) == 0 {
		return "", fmt.Errorf("%w: no datacenter knows the key", ErrUndecided)
	}
	if agree(copies, latest) && !nothing {
		return latest[0], nil
	}
	for _, name := range names {
		votes := 0
		for _, other := range names {
			a, b := copies[name], copies[other]
			if a.Same(&b) {
				votes++
			}
		}
		if 2*votes > all {
			return name, nil
		}
	}
	if agree(copies, latest) {
		return latest[0], nil // some know nothing of it, but not most: nothing is deleted for that
	}
	if origin := copies[latest[0]].Origin; slices.Contains(latest, origin) {
		return origin, nil
	}
	return "", fmt.Errorf("%w: copies of the same write differ, there is no majority, and its origin %s has another one; name the right one with --from",
		ErrUndecided, copies[latest[0]].Origin)
}

func agree(copies map[string]Copy, names []string) bool {
	first := copies[names[0]]
	for _, n := range names[1:] {
		if c := copies[n]; !first.Same(&c) {
			return false
		}
	}
	return true
}
