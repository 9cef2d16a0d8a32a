package health

import (
	"fmt"
	"time"
)

// BreakerState says whether writes may wait for a peer.
type BreakerState string

// The states.
const (
	Closed   BreakerState = "closed"    // they may
	Open     BreakerState = "open"      // none may: it is down
	HalfOpen BreakerState = "half-open" // a few may: it is back, and has not shown that it moves
)

// BreakerStates lists all states.
func BreakerStates() []BreakerState { return []BreakerState{Closed, Open, HalfOpen} }

// Breaker stands in front of the waits for one peer. Use [NewBreaker].
type Breaker struct {
	State BreakerState
	Since time.Time

	acked int64 // when it became half-open
}

// NewBreaker is a closed breaker: nothing is held against a peer yet.
func NewBreaker(at time.Time) Breaker { return Breaker{State: Closed, Since: at} }

// Step returns the breaker after a look at its peer, and why that changed the state; "" when it did not. Heartbeats
// alone do not close it: the peer must have confirmed something since it is back, or all there is.
func (b Breaker) Step(m Machine, o Observation) (_ Breaker, why string) {
	switch {
	case m.State == Down && b.State != Open:
		return Breaker{State: Open, Since: o.At}, "the peer is down: " + m.Reason
	case m.State != Down && b.State == Open:
		return Breaker{State: HalfOpen, Since: o.At, acked: o.Acked}, "the peer is heard from again"
	case b.State != HalfOpen || m.State != Healthy:
		return b, ""
	case o.Acked > b.acked:
		return Breaker{State: Closed, Since: o.At}, fmt.Sprintf("the peer is healthy, and has confirmed up to %d since it is back", o.Acked)
	case !o.Behind:
		return Breaker{State: Closed, Since: o.At}, "the peer is healthy, and has confirmed all there is"
	}
	return b, ""
}
