package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"geogate/dc"
	"geogate/replication/policy"
)

// admission is a write that the RPO budget has let in; the zero value is one that no budget holds.
type admission struct {
	s     *Server
	bytes int64
}

// done ends the time in which the write may be missing from the lag. Whether it was committed makes no
// difference: the next reading knows.
func (a admission) done() {
	if a.s != nil {
		a.s.inflightTxns.Add(-1)
		a.s.inflightBytes.Add(-a.bytes)
	}
}

// withinBudget lets a write in, at once while the peers are close, after a delay when they come near the
// bound. It returns [ErrOverBudget] when nothing may be written now.
func (s *Server) withinBudget(ctx context.Context, r rule, bytes int) (admission, error) {
	if !r.lag.bounded() {
		return admission{}, nil
	}
	a := admission{s, int64(bytes)}
	st := s.standing.Load()
	u, ok := s.letIn(st, r, a)
	if ok && (r.policy != policy.Async || u.delay() == 0) {
		return a, nil
	}
	if !ok {
		s.replication.Hurry()
	}
	if held := s.held.Add(1); held > int64(s.cfg.MaxHeldWrites) {
		s.held.Add(-1)
		if ok {
			a.done()
		}
		return admission{}, s.overBudget(ctx, r, fmt.Sprintf("%d writes are held back already", s.cfg.MaxHeldWrites))
	}
	defer s.held.Add(-1)
	start := time.Now()
	defer func() { s.metrics.rpoDelay.Observe(time.Since(start).Seconds()) }()
	if ok {
		err := s.pause(ctx, u.delay())
		if err != nil {
			a.done()
			return admission{}, err
		}
		return a, nil
	}
	return s.waitForBudget(ctx, r, a)
}

// letIn counts a write in, unless that takes a peer over the bound.
func (s *Server) letIn(st *standing, r rule, a admission) (usage, bool) {
	more := pending{st.txns.Add(1), st.bytes.Add(a.bytes)}
	u := r.lag.used(st.peers, r.policy, more)
	if u.over() {
		st.txns.Add(-1)
		st.bytes.Add(-a.bytes)
		return u, false
	}
	s.inflightTxns.Add(1)
	s.inflightBytes.Add(a.bytes)
	return u, true
}

// pause delays a write that is let in. The delays of many writes are spread, so that they don't come as a herd.
func (s *Server) pause(ctx context.Context, d time.Duration) error {
	s.metrics.rpoDelayed.Inc()
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopping:
		return dc.ErrStopped
	}
}

// waitForBudget looks again at each reading. It refuses at once unless on_exceed is wait, or the lag is unknown
// because this node leads since a moment ago.
func (s *Server) waitForBudget(ctx context.Context, r rule, a admission) (admission, error) {
	t := time.NewTimer(r.timeout)
	defer t.Stop()
	for {
		st := s.standing.Load()
		u, ok := s.letIn(st, r, a)
		if ok {
			if d := u.delay(); d > 0 && r.policy == policy.Async {
				if err := s.pause(ctx, d); err != nil {
					a.done()
					return admission{}, err
				}
			}
			return a, nil
		}
		if _, leading := s.dc.Leading(); !leading {
			return admission{}, dc.ErrNotLeader
		}
		why := r.lag.describe(st.peers, u, pending{st.txns.Load(), st.bytes.Load()})
		if r.lag.OnExceed != ExceedWait && (u.known() || !st.starting()) {
			return admission{}, s.overBudget(ctx, r, why)
		}
		select {
		case <-st.next:
		case <-t.C:
			return admission{}, s.overBudget(ctx, r, fmt.Sprintf("%s, after %s", why, r.timeout))
		case <-ctx.Done():
			return admission{}, ctx.Err()
		case <-s.stopping:
			return admission{}, dc.ErrStopped
		}
	}
}

// overBudget words the refusal before anything is written.
func (s *Server) overBudget(ctx context.Context, r rule, why string) error {
	s.metrics.rpoRefused.Inc()
	_ = grpc.SetTrailer(ctx, metadata.Pairs(metaPolicy, r.asked.String())) // fails only outside of a call
	return fmt.Errorf("nothing was written: %w: %s", ErrOverBudget, why)
}
