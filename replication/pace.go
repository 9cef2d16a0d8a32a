package replication

import (
	"context"
	"sync"
	"time"
)

// pace spaces out what is sent so that it stays under a rate. It allows a tenth of a second at once.
type pace struct {
	rate float64 // bytes per second

	mu   sync.Mutex
	next time.Time // guarded by mu: when all that was taken so far is paid for
}

func newPace(rate int) *pace { return &pace{rate: float64(rate)} }

// take waits until n more bytes may be sent.
func (p *pace) take(ctx context.Context, n int) {
	const burst = 100 * time.Millisecond
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	wait := p.next.Sub(now) - burst
	p.next = p.next.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	p.mu.Unlock()
	if wait > 0 {
		pause(ctx, wait)
	}
}
