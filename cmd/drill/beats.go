package drill

import "time"

// maxBeats is how many acknowledged writes of one writer a reader can be behind before its age is a lower bound:
// minutes, at the rates of drills.
const maxBeats = 4096

// beat is one acknowledged write of a writer: when it was made, which is its value too, and when acknowledged.
type beat struct {
	made  int64 // Unix nanoseconds
	acked time.Time
}

// beats are the newest of a writer, in a ring.
type beats struct {
	list []beat
	next int // the oldest, once the ring is full
}

func (b *beats) add(x beat) {
	if len(b.list) < maxBeats {
		b.list = append(b.list, x)
		return
	}
	b.list[b.next] = x
	b.next = (b.next + 1) % maxBeats
}

// age is for how long the first write after the one that was seen had been acknowledged at now: what a reader at that
// moment did not know of. 0 when it saw the newest.
func (b *beats) age(seen int64, now time.Time) time.Duration {
	for i := range b.list {
		x := &b.list[(b.next+i)%len(b.list)]
		if x.made > seen && x.acked.Before(now) {
			return now.Sub(x.acked)
		}
	}
	return 0
}
