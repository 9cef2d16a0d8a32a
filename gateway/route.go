package gateway

import (
	"context"
	"fmt"
	"time"
)

// routePause is between two attempts to find a leader, unless leadership changes earlier.
const (
	routePauseMin = 10 * time.Millisecond
	routePauseMax = 200 * time.Millisecond
)

// route runs here when this node leads, else there, with the node that does, until one of
// them has an outcome. An error of here that is retryable, and a fate of there that is fateNotDone, are none.
// After RouteTimeout the write is known not to have happened.
func (s *Server) route(ctx context.Context, forwarded bool, here func() error,
	there func(*neighbor) (fate, error)) error {
	began, changed := time.Now(), s.dc.LeadershipChanged()
	done, last := s.attempt(forwarded, here, there)
	if done { // nearly always, and a deadline costs more than all of this
		return last
	}
	ctx, cancel := context.WithDeadlineCause(ctx, began.Add(s.cfg.RouteTimeout), ErrNoLeader)
	defer cancel()
	for pause := routePauseMin; ; pause = min(2*pause, routePauseMax) {
		if !sleep(ctx, changed, pause) {
			if last == nil || !retryable(last) {
				return fmt.Errorf("%w within %s (%w)", ErrNoLeader, s.cfg.RouteTimeout, context.Cause(ctx))
			}
			return last
		}
		changed = s.dc.LeadershipChanged()
		done, err := s.attempt(forwarded, here, there)
		if done {
			return err
		}
		if err != nil {
			last = err
		}
	}
}

// attempt is one try of route. An error of one that is not done is why; it has none while no leader is known.
func (s *Server) attempt(forwarded bool, here func() error, there func(*neighbor) (fate, error)) (done bool, err error) {
	to, self, err := s.leader()
	switch {
	case err != nil:
		return false, err
	case self:
		err := here()
		if retryable(err) && forwarded {
			return true, fmt.Errorf("%w: %w", ErrForwardedAstray, err)
		}
		return !retryable(err), err
	case forwarded:
		return true, ErrForwardedAstray
	case to == nil:
		return false, nil
	}
	f, err := there(to)
	switch f {
	case fateAnswered:
		return true, err
	case fateUnknown:
		return true, fmt.Errorf("%w: %w", ErrConnectionLost, err)
	}
	return false, fmt.Errorf("%w: %w", ErrNoLeader, err)
}

// leader is where writes go: this node, another one, or neither when no leader is known.
func (s *Server) leader() (to *neighbor, self bool, err error) {
	if _, leading := s.dc.Leading(); leading {
		return nil, true, nil
	}
	m, ok := s.member(s.dc.Leader())
	if !ok || m.ID == s.cfg.MemberID || m.ClientAddr == "" {
		return nil, false, nil // unknown, or elected and not ready yet
	}
	to, err = s.forward.conn(m.ClientAddr)
	return to, false, err
}

// sleep returns false when ctx ended; it returns early when wake is closed.
func sleep(ctx context.Context, wake <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-t.C:
	}
	return ctx.Err() == nil
}
