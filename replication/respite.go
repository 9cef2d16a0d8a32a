package replication

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"

	"geogate/replication/event"
)

const (
	// stretchBytes is how much of what was missed is taken before a rest.
	stretchBytes = 64 << 10
	// leastProgress is how many seconds of the origin's life a DC catches up in a second, with its rests.
	leastProgress = 2
	// maxRest keeps a rest far below the time without progress that makes a peer suspected.
	maxRest = 250 * time.Millisecond
)

// respite leaves room for local clients while a DC takes what it has missed: after each stretch of work comes a rest. By the
// stamps of the frames it sees how much of the origin's life a stretch holds. Where that is little there is no rest, so that
// rests can't make a DC stay behind, and one that keeps up has none. It belongs to one goroutine.
type respite struct {
	share float64 // of the time that may be worked, above 0; 1 for all of it

	began time.Time // of the stretch
	from  time.Time // the last stamp before it; zero for none
	bytes int
}

// taken counts a frame and says whether the stretch is over.
func (s *respite) taken(now time.Time, f *event.Sealed) (over bool) {
	if s.from.IsZero() {
		s.begin(now, f)
		return false
	}
	s.bytes += len(f.Bytes)
	return s.bytes >= stretchBytes
}

// begin starts a stretch behind a frame.
func (s *respite) begin(now time.Time, f *event.Sealed) {
	s.began, s.from, s.bytes = now, f.Committed(), 0
}

// rest is how long to rest after a stretch that ends with a frame; 0 or less for not at all.
func (s *respite) rest(now time.Time, f *event.Sealed) time.Duration {
	worked := now.Sub(s.began)
	due := time.Duration(float64(worked) * (1/s.share - 1))
	return min(due, maxRest, f.Committed().Sub(s.from)/leastProgress-worked)
}

// breathe ends the stretch when it is over, with a rest if one is due and no write of the origin waits: what was proposed is
// awaited first, or else this DC's Raft group would work on it meanwhile.
func (p *pull) breathe(ctx context.Context, f *event.Sealed, room *semaphore.Weighted) error {
	s := &p.respite
	if !s.taken(p.cfg.Clock(), f) {
		return nil
	}
	if p.unhurried.Load() && s.rest(p.cfg.Clock(), f) > 0 {
		all := int64(p.cfg.ProposeBytes)
		if err := room.Acquire(ctx, all); err != nil {
			return context.Cause(ctx)
		}
		room.Release(all)
		if d := s.rest(p.cfg.Clock(), f); d > 0 {
			p.metrics.rested.WithLabelValues(p.peer.Name).Add(d.Seconds())
			pause(ctx, d)
		}
	}
	s.begin(p.cfg.Clock(), f)
	return nil
}
