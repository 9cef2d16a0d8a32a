package event

import (
	"fmt"
	"sync"
	"time"
)

// Stamp is a hybrid logical clock reading: 48 bits of Unix milliseconds, then 16 bits of counter.
// Stamps compare as integers. Source: Kulkarni et al., "Logical Physical Clocks", OPODIS 2014.
type Stamp uint64

const counterBits = 16

// StampAt is the first stamp of the millisecond that contains t.
func StampAt(t time.Time) Stamp { return Stamp(t.UnixMilli()) << counterBits }

// Time is the wall-clock part of the stamp, in milliseconds' precision.
func (s Stamp) Time() time.Time { return time.UnixMilli(int64(s >> counterBits)) }

// Counter is the logical part of the stamp.
func (s Stamp) Counter() uint16 { return uint16(s & (1<<counterBits - 1)) }

func (s Stamp) String() string {
	return fmt.Sprintf("%s+%d", s.Time().UTC().Format("2006-01-02T15:04:05.000Z"), s.Counter())
}

// Clock hands out stamps that only grow and are never behind one that it has observed.
type Clock struct {
	now func() time.Time

	mu   sync.Mutex
	last Stamp // guarded by mu
}

// NewClock reads the wall clock through now; nil means time.Now.
func NewClock(now func() time.Time) *Clock {
	if now == nil {
		now = time.Now
	}
	return &Clock{now: now}
}

// Next reserves n consecutive stamps and returns the first. A counter that overflows carries into the
// milliseconds, which keeps the order and costs at most one millisecond of drift for each 65,536 stamps.
func (c *Clock) Next(n int) Stamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := max(StampAt(c.now()), c.last+1)
	c.last = first + Stamp(n) - 1
	return first
}

// Observe moves the clock so that no later stamp is at or below s.
func (c *Clock) Observe(s Stamp) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, s)
}

// Later says whether a write stamped a in DC origin wins over one stamped b in DC other: the later stamp,
// then the greater name. It is a total order as long as a DC never repeats a stamp.
func Later(a Stamp, origin string, b Stamp, other string) bool {
	if a != b {
		return a > b
	}
	return origin > other
}
