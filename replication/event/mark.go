package event

import "slices"

// Mark is what a DC has applied of one life of an origin. The marks of a DC say all that its data holds: two
// DCs with equal marks hold equal data.
type Mark struct {
	Position
	// Past says that this life has ended, as far as the DC knows: its origin's data was lost or restored and
	// began anew, so nothing will be added, and no stream carries what somebody lacks of it.
	Past bool
}

// Lower returns the marks as far as others go in the same lives, and whether that is less. A life that the others do
// not know is left out. Whether a life has ended is what the first ones say.
func Lower(marks, others []Mark) (out []Mark, lowered bool) {
	for _, m := range marks {
		i := slices.IndexFunc(others, func(o Mark) bool { return o.Origin == m.Origin && o.Incarnation == m.Incarnation })
		if i < 0 {
			lowered = true
			continue
		}
		if o := others[i]; o.Revision < m.Revision {
			m.Position, lowered = o.Position, true
		}
		out = append(out, m)
	}
	return out, lowered
}
