//go:build linux

package main

import (
	"context"
	"sync/atomic"
	"time"
)

// pulse measures how late the machine lets a process run that wants to: what a bound in time has to allow for
// when others work here too.
type pulse struct{ worst atomic.Int64 }

const beat = 5 * time.Millisecond

// run beats until ctx ends.
func (p *pulse) run(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		pauseFor(ctx, beat)
		late := time.Since(began) - beat
		p.worst.Store(max(p.worst.Load(), int64(late))) // the only writer but for reset, whose loss does no harm
	}
}

// reset begins anew.
func (p *pulse) reset() { p.worst.Store(0) }

// allowed is a bound with what the machine was late by since reset on top, for each of the hops that take
// part one after the other.
func (p *pulse) allowed(bound time.Duration) time.Duration {
	const hops = 10
	return bound + hops*time.Duration(p.worst.Load())
}
