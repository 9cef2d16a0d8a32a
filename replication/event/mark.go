package event

// Mark is what a DC has applied of one life of an origin. The marks of a DC say all that its data holds: two
// DCs with equal marks hold equal data.
type Mark struct {
	Position
	// Past says that this life has ended, as far as the DC knows: its origin's data was lost or restored and
	// began anew, so nothing will be added, and no stream carries what somebody lacks of it.
	Past bool
}
