package replication

import (
	"slices"
	"sync"
	"time"
)

// maxAges bounds the sightings that are kept; with more they get coarser.
const maxAges = 4096

// ages remembers when the head of this DC's chain was seen where, on the steady clock. The age of a transaction
// is measured by that and not by its stamp alone: a stamp is ahead of the clock for as long as some peer's clock
// was, or when this one was set back, and the lag would look like none.
type ages struct {
	mu    sync.Mutex
	seen  []sighting    // guarded by mu, as below; revisions ascend
	last  time.Time     // of the last look; zero before the first
	every time.Duration // the least time between two sightings
}

// sighting says that the head got to revision between before and at. Of the first one before is zero: it was
// there when this node began to lead.
type sighting struct {
	revision   int64
	before, at time.Time
}

// note takes down where the head is, and forgets what every peer has confirmed.
func (a *ages) note(now time.Time, head, confirmed int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch n := len(a.seen); {
	case n > 0 && head <= a.seen[n-1].revision:
	case n > 1 && now.Sub(a.seen[n-1].at) < a.every:
		a.seen[n-1].revision = head // an age gets too great rather than too small
	default:
		a.seen = append(a.seen, sighting{revision: head, before: a.last, at: now})
	}
	a.last = now
	old := slices.IndexFunc(a.seen, func(s sighting) bool { return s.revision > confirmed })
	if old < 0 {
		old = len(a.seen) - 1 // the newest stays: it tells since when there is nothing more
	}
	a.seen = slices.Delete(a.seen, 0, old)
	switch {
	case len(a.seen) > maxAges:
		a.thinLocked()
	case len(a.seen) < maxAges/8:
		a.every = 0
	}
}

// thinLocked makes one sighting of two.
func (a *ages) thinLocked() {
	half := a.seen[:0]
	for i := 0; i+1 < len(a.seen); i += 2 {
		s := a.seen[i]
		s.revision = a.seen[i+1].revision
		half = append(half, s)
	}
	if len(a.seen)%2 == 1 {
		half = append(half, a.seen[len(a.seen)-1])
	}
	a.seen = half
	a.every = 2 * a.seen[len(a.seen)-1].at.Sub(a.seen[0].at) / maxAges
}

// of is the age of the oldest transaction behind a revision: by its stamp, as far as that agrees with when it was
// seen here.
func (a *ages) of(now time.Time, acked int64, byStamp time.Duration) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.seen, func(s sighting) bool { return s.revision > acked })
	s := sighting{before: a.last, at: now} // came since the last look
	if i >= 0 {
		s = a.seen[i]
	}
	age := max(byStamp, now.Sub(s.at))
	if !s.before.IsZero() {
		age = min(age, now.Sub(s.before))
	}
	return age
}
