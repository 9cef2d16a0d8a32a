package replication

import "time"

const (
	// spacingMemory is about how far back writes count.
	spacingMemory = 50 * time.Millisecond
	// spacingFull is how many of them put shipments as far apart as they may be: 8,000 a second.
	spacingFull = 400
)

// spacing is how far apart shipments go out while nobody waits for them: as the square of how much is written. Where little is
// written each frame goes at once, and costs little; where much is, frames share what a shipment costs. It belongs to one
// goroutine.
type spacing struct {
	at     time.Time // of the last shipment
	recent float64   // writes of the last spacingMemory
}

// sent takes note of a shipment.
func (s *spacing) sent(now time.Time, writes int) {
	if passed := now.Sub(s.at); passed < spacingMemory {
		s.recent *= 1 - float64(passed)/float64(spacingMemory)
	} else {
		s.recent = 0
	}
	s.at = now
	s.recent += float64(writes)
}

// next is how long the next shipment has to wait, at most so long after the last one.
func (s *spacing) next(now time.Time, most time.Duration) time.Duration {
	much := min(1, s.recent/spacingFull)
	return time.Duration(much*much*float64(most)) - now.Sub(s.at)
}
