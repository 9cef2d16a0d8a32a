package wan

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Conditions are how packets of one direction travel. The zero value carries everything at once.
type Conditions struct {
	Delay         time.Duration // from one side to the other
	Jitter        time.Duration // up to this much more or less than Delay; packets never overtake each other
	Loss          float64       // part of the packets that vanish, 0 to 1
	BitsPerSecond int           // bandwidth; 0 is unlimited
	QueueBytes    int           // that wait for bandwidth before the tail is dropped; 0 means 64 KiB
	MostBytes     int           // of a packet; larger ones vanish, as behind a tunnel that is too narrow. 0 is no bound
	Cut           bool          // every packet vanishes
}

const defaultQueueBytes = 64 << 10

func (c Conditions) String() string {
	if c.Cut {
		return "cut"
	}
	var parts []string
	if c.Delay > 0 || c.Jitter > 0 {
		parts = append(parts, fmt.Sprintf("%s±%s one way", c.Delay, c.Jitter))
	}
	if c.Loss > 0 {
		parts = append(parts, fmt.Sprintf("%g %% loss", 100*c.Loss))
	}
	if c.BitsPerSecond > 0 {
		parts = append(parts, fmt.Sprintf("%g Mbit/s", float64(c.BitsPerSecond)/1e6))
	}
	if c.MostBytes > 0 {
		parts = append(parts, fmt.Sprintf("no packet over %d bytes", c.MostBytes))
	}
	if parts == nil {
		return "perfect"
	}
	return strings.Join(parts, ", ")
}

// fate is what becomes of a packet.
type fate int

const (
	carried fate = iota
	lost         // by chance
	cut          // the direction is dead
	dropped      // no room in a queue, or too large
)

// pacer decides the fate of the packets of one direction, in the order in which they are sent. It has no
// clock of its own; one goroutine uses it.
type pacer struct {
	rnd  *rand.Rand
	free time.Time // when the bandwidth is free again
	last time.Time // when the last packet arrives
}

// next says when a packet of that size, sent now, arrives.
func (p *pacer) next(now time.Time, size int, c Conditions) (time.Time, fate) {
	switch {
	case c.Cut:
		return time.Time{}, cut
	case c.MostBytes > 0 && size > c.MostBytes:
		return time.Time{}, dropped
	case c.Loss > 0 && p.rnd.Float64() < c.Loss:
		return time.Time{}, lost
	}
	at := now
	if c.BitsPerSecond > 0 {
		queue := c.QueueBytes
		if queue == 0 {
			queue = defaultQueueBytes
		}
		if p.free.Before(now) {
			p.free = now
		}
		if p.free.Sub(now) > transmission(queue, c.BitsPerSecond) {
			return time.Time{}, dropped
		}
		p.free = p.free.Add(transmission(size, c.BitsPerSecond))
		at = p.free
	}
	at = at.Add(c.Delay)
	if c.Jitter > 0 {
		at = at.Add(time.Duration(p.rnd.Int64N(int64(2*c.Jitter)+1)) - c.Jitter)
	}
	if at.Before(p.last) {
		at = p.last
	}
	p.last = at
	return at, carried
}

func transmission(bytes, bitsPerSecond int) time.Duration {
	return time.Duration(float64(bytes) * 8 / float64(bitsPerSecond) * float64(time.Second))
}
