package dc

import (
	"maps"

	"geogate/replication/event"
)

// held is a frame that was not applied yet: its origin's chain stands at a revision.
type held struct {
	at    int64
	cause error
}

// hold takes note that the next frame of an origin must wait. The notes are this process's own: they only spare the
// log frames that come behind such a one.
func (d *DC) hold(origin string, cause error) {
	next := map[string]held{origin: {at: d.state.positions[origin].Revision, cause: cause}}
	if old := d.heldAt.Load(); old != nil {
		for o, h := range *old {
			if o != origin {
				next[o] = h
			}
		}
	}
	d.heldAt.Store(&next)
}

// release forgets that an origin's frames wait.
func (d *DC) release(origin string) {
	old := d.heldAt.Load()
	if old == nil {
		return
	}
	if _, ok := (*old)[origin]; ok {
		next := maps.Clone(*old)
		delete(next, origin)
		d.heldAt.Store(&next)
	}
}

// heldBack says why a frame need not be proposed: one that comes before it in the chain waits. That one itself is
// proposed each time; only its application tells whether it still must wait.
func (d *DC) heldBack(s *event.Sealed) error {
	all := d.heldAt.Load()
	if all == nil {
		return nil
	}
	h, ok := (*all)[s.Origin]
	if !ok || s.PrevRevision <= h.at || d.Position(s.Origin).Revision != h.at {
		return nil
	}
	return h.cause
}

// Held are the origins of which a frame waits for a move of a keyspace, as this process last saw it, with the reason.
func (d *DC) Held() map[string]string {
	out := map[string]string{}
	if all := d.heldAt.Load(); all != nil {
		for origin, h := range *all {
			out[origin] = h.cause.Error()
		}
	}
	return out
}
