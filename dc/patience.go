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

// patienceOf is the patience of a context; false where it has none.
func patienceOf(ctx context.Context) (time.Duration, bool) {
	p, ok := ctx.Value(patienceKey{}).(*patient)
	if !ok {
		return 0, false
	}
	return p.patience, true
}
