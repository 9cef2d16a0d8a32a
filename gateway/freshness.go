package gateway

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// How old the state of this node is, is found out by questions. A question is sent at a moment by this node's own clock;
// the answer names places in chains that cover all that its subject had committed when it was asked. So a node that has
// applied these places was, at that moment or later, up to date with the subject. No clock of another datacenter counts
// and no time on the way. What is not heard of gets older by itself.

// subject is what a state can lag behind: an origin, which may be this datacenter, or a single-writer keyspace, whose
// home answers for all that was ever written to it.
type subject struct {
	dc     string
	single *single // of a keyspace; dc is empty then
}

func (x subject) String() string {
	if x.single != nil {
		return fmt.Sprintf("keyspace %q", x.single.prefix)
	}
	return x.dc
}

// freshness is what the leader has found out.
type freshness struct {
	mu       sync.Mutex
	of       map[string]*inquiry // by subject. guarded by mu, as what is in it
	answered chan struct{}       // closed and replaced when a question has ended. guarded by mu
}

// inquiry is all questions about one subject.
type inquiry struct {
	proofs proofs
	asking bool
	sent   time.Duration // of the last question
	failed error         // why the last question that has ended brought nothing; nil when it did
}

func newFreshness() freshness {
	return freshness{of: map[string]*inquiry{}, answered: make(chan struct{})}
}

// finding is what is known of one subject.
type finding struct {
	subject
	asOf   time.Duration
	known  bool
	failed error  // of a question that was sent since the read began
	short  *point // of the newest proof: what is not applied here
}

// find looks at a subject, and sends a question if that can help: when the state is too old, or soon will be.
func (s *Server) find(x subject, limit, began time.Duration) (f finding, fresh bool) {
	now := s.cfg.Uptime()
	s.fresh.mu.Lock()
	defer s.fresh.mu.Unlock()
	q := s.fresh.of[x.String()]
	if q == nil {
		q = &inquiry{}
		s.fresh.of[x.String()] = q
	}
	f.subject = x
	q.proofs, f.asOf, f.known = q.proofs.newest(func(points []point) bool { return s.notApplied(points) == nil })
	age := now - f.asOf
	if fresh = f.known && age <= limit; !fresh && q.sent >= began && !q.asking {
		f.failed = q.failed
	}
	if n := len(q.proofs); n > 0 {
		f.short = s.notApplied(q.proofs[n-1].points)
	}
	switch {
	case q.asking:
	case !fresh && (q.sent < began || q.sent == 0), fresh && age > limit/2 && now-q.sent > limit/4:
		q.asking, q.sent = true, now
		s.receivers.Go(func() { s.inquire(x, q, now) })
	}
	return f, fresh
}

// inquire sends one question and keeps what comes of it.
func (s *Server) inquire(x subject, q *inquiry, sent time.Duration) {
	ctx, cancel := context.WithTimeout(s.life, s.cfg.RequestTimeout)
	defer cancel()
	points, err := s.prove(ctx, x)
	s.fresh.mu.Lock()
	defer s.fresh.mu.Unlock()
	switch was := q.failed; {
	case s.life.Err() != nil: // this node is being stopped
	case err != nil && was == nil:
		s.log.Warn("how new the state here is can't be found out: bounded reads will be refused", "of", x.String(), "error", err)
	case err == nil && was != nil:
		s.log.Info("how new the state here is can be found out again", "of", x.String())
	}
	if q.asking, q.failed = false, err; err == nil {
		q.proofs = q.proofs.add(proof{sent, points})
	}
	close(s.fresh.answered)
	s.fresh.answered = make(chan struct{})
}

// prove asks for the places that cover all that a subject has committed.
func (s *Server) prove(ctx context.Context, x subject) ([]point, error) {
	switch {
	case x.dc == s.name:
		return nil, s.linearize(ctx)
	case x.single == nil:
		return s.askMarks(ctx, x.dc, callHead)
	}
	st, points, err := s.pointsAtHome(ctx, x.single)
	if err != nil || st.Home.DC != s.name {
		return points, err
	}
	if err := s.linearize(ctx); err != nil {
		return nil, err
	}
	if now := s.cfg.Homes.Standing(x.single.prefix); !now.Reading || now.Epoch != st.Epoch {
		return nil, s.noHome(x.single, now, nil)
	}
	return nil, nil
}
