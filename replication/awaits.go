package replication

import (
	"context"
	"sync/atomic"
	"time"
)

// awaitedFor is how long after a write waited for other DCs the frames still count as awaited: whoever writes so now
// and then need not be the one who ends the quiet.
const awaitedFor = time.Second

// awaits is when a write last waited for other DCs, or was about to: that is known before it is committed, and so
// before its frame is shipped.
type awaits struct {
	began  time.Time
	last   atomic.Int64 // nanoseconds since began, plus 1; 0 for never
	roused bell         // a write waits, after a quiet
}

func newAwaits(now time.Time) awaits { return awaits{began: now, roused: newBell()} }

func (a *awaits) note(now time.Time) {
	quiet := a.quiet(now)
	a.last.Store(int64(now.Sub(a.began)) + 1)
	if quiet {
		a.roused.ring()
	}
}

// quiet says that nobody waits for acks.
func (a *awaits) quiet(now time.Time) bool {
	last := a.last.Load()
	return last == 0 || int64(now.Sub(a.began)) >= last+int64(awaitedFor)
}

// pause waits for d, or until a write waits, for whoever has seen that none does.
func (a *awaits) pause(ctx context.Context, d time.Duration) {
	if d > 0 {
		a.roused.wait(ctx, d)
	}
}

// urgency is that of a peer's frames, by its own word: whether a write there waits for the acks of this DC.
type urgency struct {
	unawaited atomic.Bool
	roused    bell // an awaited frame has come behind others
}

func newUrgency() urgency { return urgency{roused: newBell()} }

// note takes down what the newest frame says.
func (u *urgency) note(unawaited bool) {
	if u.unawaited.Swap(unawaited) && !unawaited {
		u.roused.ring()
	}
}

// pause waits for as long as nobody waits for an ack.
func (u *urgency) pause(ctx context.Context, d time.Duration) {
	select {
	case <-u.roused: // of a pause before
	default:
	}
	if u.unawaited.Load() {
		u.roused.wait(ctx, d)
	}
}

// bell ends somebody's wait: the present one, or else the next.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default: // it rings already
	}
}

// wait waits for d, or until the bell rings.
func (b bell) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-b:
	case <-ctx.Done():
	}
}
