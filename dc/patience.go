package dc

import (
	"context"
	"time"
)

type patienceKey struct{}

// patient is a context with a patience.
type patient struct {
	context.Context

	patience time.Duration
}

// WithPatience bounds how long a write waits for its commit. When the time is over its outcome is unknown
// ([ErrUnknownOutcome]), as when ctx ends. Every write has such a bound, and a context with a deadline costs several
// times as much.
func WithPatience(ctx context.Context, d time.Duration) context.Context {
	return &patient{Context: ctx, patience: d}
}

// Value finds the patience itself.
func (p *patient) Value(key any) any {
	if _, ok := key.(patienceKey); ok {
		return p
	}
	return p.Context.Value(key)
}

// late receives when the patience of a context is over; never where it has none. The timer is to be stopped.
func late(ctx context.Context) (over <-chan time.Time, stop func() bool) {
	p, ok := ctx.Value(patienceKey{}).(*patient)
	if !ok {
		return nil, func() bool { return false }
	}
	t := time.NewTimer(p.patience)
	return t.C, t.Stop
}
