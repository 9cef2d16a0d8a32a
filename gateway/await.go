package gateway

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"geogate/gateway/geopb"
	"geogate/replication"
	"geogate/replication/policy"
)

// await waits until a write of this datacenter meets a policy, at whichever node leads: when leadership moves
// meanwhile, the wait moves along. Only the end of the time, or of ctx, ends it without success; the error
// is then the last one met, or ctx's. ackedBy is what was known last.
func (s *Server) await(caller context.Context, t policy.Token, p policy.Policy, timeout time.Duration, forwarded bool) (ackedBy []string, err error) {
	ctx, cancel := context.WithTimeout(caller, timeout)
	defer cancel()
	pause := routePauseMin
	for {
		changed := s.dc.LeadershipChanged()
		to, self, routeErr := s.leader()
		var names []string
		switch {
		case routeErr != nil:
			err = routeErr
		case self:
			names, err = s.replication.Wait(ctx, t.Revision, p)
			if err != nil && ctx.Err() != nil {
				err = ctx.Err() // the plain end of the time
			}
		case forwarded:
			return ackedBy, ErrForwardedAstray
		case to != nil:
			deadline, _ := ctx.Deadline()
			names, err = s.awaitAt(caller, to, t, p, time.Until(deadline))
		default:
			err = ErrNoLeader
		}
		if len(names) > 0 {
			ackedBy = names
		}
		// Asked of success, too: what was set aside is confirmed as well, and only after this datacenter has heard of it.
		if aside := s.setAside(t); aside != nil {
			return ackedBy, aside
		}
		if err == nil || errors.Is(err, replication.ErrSetAside) {
			return ackedBy, err
		}
		if ctx.Err() != nil || !sleep(ctx, changed, pause) {
			if retryable(err) {
				err = ErrNoLeader
			}
			return ackedBy, err
		}
		pause = min(2*pause, routePauseMax)
	}
}

// answerGrace is how much longer than the time of the wait the leader's answer may take: without it, an answer
// that says who has the write would be given up just before it arrives.
const answerGrace = 500 * time.Millisecond

// awaitAt lets the leader's gateway wait.
func (s *Server) awaitAt(ctx context.Context, to *neighbor, t policy.Token, p policy.Policy, left time.Duration) ([]string, error) {
	if left <= 0 {
		return nil, context.DeadlineExceeded
	}
	ctx, cancel := context.WithTimeout(s.forward.outgoing(ctx), left+answerGrace)
	defer cancel()
	receipt, err := geopb.NewGeoClient(to).Wait(ctx, &geopb.WaitRequest{
		Token: t.String(), Policy: p.String(), Timeout: durationpb.New(left),
	})
	if err == nil {
		return receipt.AckedBy, nil
	}
	if names, ok := notMetAckedBy(err); ok {
		return names, context.DeadlineExceeded
	}
	return nil, err
}
