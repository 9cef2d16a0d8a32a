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
	last   atomic.Int64  // nanoseconds since began, plus 1; 0 for never
	roused chan struct{} // capacity 1: a write waits, after a quiet
}

func newAwaits(now time.Time) awaits { return awaits{began: now, roused: make(chan struct{}, 1)} }

func (a *awaits) note(now time.Time) {
	quiet := a.quiet(now)
	a.last.Store(int64(now.Sub(a.began)) + 1)
	if quiet {
		select {
		case a.roused <- struct{}{}:
		default:
		}
	}
}

// quiet says that nobody waits for acks.
func (a *awaits) quiet(now time.Time) bool {
	last := a.last.Load()
	return last == 0 || int64(now.Sub(a.began)) >= last+int64(awaitedFor)
}

// pause waits for d, or until a write waits, for whoever has seen that none does.
func (a *awaits) pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-a.roused:
	case <-ctx.Done():
	}
}

// urgency is that of a peer's frames, by its own word: whether a write there waits for the acks of this DC.
type urgency struct {
	unawaited atomic.Bool
	roused    chan struct{} // capacity 1: an awaited frame has come behind others
}

func newUrgency() urgency { return urgency{roused: make(chan struct{}, 1)} }

// note takes down what the newest frame says.
func (u *urgency) note(unawaited bool) {
	if u.unawaited.Swap(unawaited) && !unawaited {
		select {
		case u.roused <- struct{}{}:
		default:
		}
	}
}

// pause waits for as long as nobody waits for an ack.
func (u *urgency) pause(ctx context.Context, d time.Duration) {
	select {
	case <-u.roused: // of a pause before
	default:
	}
	if !u.unawaited.Load() {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-u.roused:
	case <-ctx.Done():
	}
}
