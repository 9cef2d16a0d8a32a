package gateway

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"

	"geogate/replication/homes"
	"geogate/replication/policy"
)

// A quorum read asks so many datacenters how far they are that together with this one they are a majority, waits until
// this one has applied all of that, and reads here. A write that was acknowledged under QUORUM or ALL was committed by a
// majority before that; two majorities have a datacenter in common, and what it says covers the write.

// quorum returns, at the leader, once this node has applied all that a majority had when it was called.
func (s *Server) quorum(ctx context.Context) error {
	if err := s.replication.Check(policy.Quorum); err != nil {
		if retryable(err) {
			return err
		}
		return s.noQuorum(err.Error())
	}
	if len(s.cfg.Peers) > 0 {
		r := s.quorums.join()
		select {
		case <-r.done:
		case <-ctx.Done():
			return s.noQuorum(fmt.Sprintf("there was no answer of enough of %s: %v", joinNames(s.cfg.Peers), ctx.Err()))
		}
		if r.err != nil {
			return r.err
		}
		if err := s.awaitPoints(ctx, r.value); err != nil {
			return &quorumBehindError{here: s.name, cause: err, short: s.notApplied(r.value)}
		}
	}
	return s.linearize(ctx)
}

// askQuorum is one round: the places that cover what as many others have as complete a majority.
func (s *Server) askQuorum() ([]point, error) {
	ctx, cancel := context.WithTimeout(s.life, s.cfg.RequestTimeout)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	type answer struct {
		points []point
		err    error
	}
	answers := make(chan answer, len(s.cfg.Peers))
	for _, name := range s.cfg.Peers {
		asking.Go(func() {
			points, err := s.askMarks(ctx, name, callVector)
			answers <- answer{points, err}
		})
	}
	need := policy.Quorum.Needs(len(s.cfg.Peers)+1) - 1
	most, why := map[homes.Life]int64{}, ""
	for left := len(s.cfg.Peers); need > 0; left-- {
		if left < need {
			return nil, s.noQuorum(why)
		}
		a := <-answers
		if a.err != nil {
			if retryable(a.err) {
				return nil, a.err // this node leads no more: all of them say so
			}
			if why != "" {
				why += "; "
			}
			why += a.err.Error()
			continue
		}
		for _, p := range a.points {
			most[p.life] = max(most[p.life], p.revision)
		}
		need--
	}
	out := make([]point, 0, len(most))
	for life, revision := range most {
		out = append(out, point{life, revision})
	}
	return out, nil
}

// noQuorumError is the refusal of a quorum read because too few datacenters can be asked.
type noQuorumError struct {
	here        string
	needs, data int
	why         string
}

func (s *Server) noQuorum(why string) error {
	n := len(s.cfg.Peers) + 1
	return &noQuorumError{here: s.name, needs: policy.Quorum.Needs(n), data: n, why: why}
}

func (e *noQuorumError) Error() string {
	return fmt.Sprintf("nothing was read: %s: %s needs %d of %d datacenters, %s included: %s; ask again, or read with %s: %s, which shows what is applied here; see `geogate status`",
		metaRead, levelQuorum, e.needs, e.data, e.here, e.why, metaRead, levelSequential)
}

func (e *noQuorumError) status() error {
	return withInfo(codes.Unavailable, e.Error(), reasonNoQuorum, map[string]string{infoWhy: e.why})
}

// quorumBehindError is the refusal of one because this datacenter did not get in time what others have.
type quorumBehindError struct {
	here  string
	cause error
	short *point // nil when it came at the last moment
}

func (e *quorumBehindError) Error() string {
	return fmt.Sprintf("nothing was read: %s: %s: a majority has what has not come to %s: %v; ask again, read in another datacenter, or see `geogate lag`",
		metaRead, levelQuorum, e.here, e.cause)
}

func (e *quorumBehindError) status() error {
	info := map[string]string{infoWhy: e.cause.Error()}
	if e.short != nil {
		info[infoOrigin] = e.short.life.DC
	}
	return withInfo(codes.FailedPrecondition, e.Error(), reasonBehind, info)
}
