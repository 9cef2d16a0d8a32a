package health

// Ring keeps the newest events, at most Size of them. The zero Ring keeps none.
type Ring struct {
	Size   int
	events []Event
}

// Add appends an event and drops the oldest when the ring is full.
func (r *Ring) Add(e Event) {
	if r.Size <= 0 {
		return
	}
	if len(r.events) == r.Size {
		r.events = append(r.events[:0], r.events[1:]...)
	}
	r.events = append(r.events, e)
}

// Events returns a copy, oldest first.
func (r *Ring) Events() []Event { return append([]Event(nil), r.events...) }
