package check

import "maps"

// State is what a node says of itself.
type State struct {
	Node   string
	Vector map[string]int64
	Digest string
}

// Converged checks that all nodes of all datacenters hold the same: equal vectors and equal digests.
func Converged(states []State) []string {
	var bad list
	for _, s := range states {
		first := states[0]
		switch {
		case !maps.Equal(s.Vector, first.Vector):
			bad.addf("%s is at %v, %s at %v", s.Node, s.Vector, first.Node, first.Vector)
		case s.Digest == "" || s.Digest != first.Digest:
			bad.addf("%s and %s are both at %v and have the digests %q and %q", s.Node, first.Node, s.Vector, s.Digest, first.Digest)
		}
	}
	return bad.problems()
}

// Usage is the most that a node used at any time.
type Usage struct {
	Node      string
	RSSBytes  uint64
	DiskBytes uint64
}

// Bounds checks that no node used more than it may.
func Bounds(used []Usage, rss, disk uint64) []string {
	var bad list
	for _, u := range used {
		if u.RSSBytes > rss {
			bad.addf("%s had %d MiB of memory, may have %d", u.Node, u.RSSBytes>>20, rss>>20)
		}
		if u.DiskBytes > disk {
			bad.addf("%s had %d MiB on disk, may have %d", u.Node, u.DiskBytes>>20, disk>>20)
		}
	}
	return bad.problems()
}
