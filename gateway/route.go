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
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.RouteTimeout, ErrNoLeader)
	defer cancel()
	last, pause := error(nil), routePauseMin
	for {
		changed := s.dc.LeadershipChanged()
		to, self, err := s.leader()
		switch {
		case err != nil:
			last = err
		case self:
			err := here()
			if !retryable(err) {
				return err
			}
			if forwarded {
				return fmt.Errorf("%w: %w", ErrForwardedAstray, err)
			}
			last = err
		case forwarded:
			return ErrForwardedAstray
		case to != nil:
			f, err := there(to)
			switch f {
			case fateAnswered:
				return err
			case fateUnknown:
				return fmt.Errorf("%w: %w", ErrConnectionLost, err)
			}
			last = fmt.Errorf("%w: %w", ErrNoLeader, err)
		}
		if !sleep(ctx, changed, pause) {
			if last == nil || !retryable(last) {
				return fmt.Errorf("%w within %s (%w)", ErrNoLeader, s.cfg.RouteTimeout, context.Cause(ctx))
			}
			return last
		}
		pause = min(2*pause, routePauseMax)
	}
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
