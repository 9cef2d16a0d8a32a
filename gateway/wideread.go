package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// maxStaleReads bounds how often a bounded read is made anew because reading took so long that the state was too old.
const maxStaleReads = 3

// wideRead runs a read in which other datacenters have a say: once the state of this node will do, local reads that.
// Only the leader asks the others; the other nodes ask their leader with small reads of the same level.
func wideRead[R any](ctx context.Context, s *Server, r reading, sc *scope, probes []*pb.RangeRequest, local func(context.Context) (R, error)) (R, error) {
	var none R
	if isForwarded(ctx) {
		s.markServed(ctx)
	}
	for tries := 1; ; tries++ {
		asOf, err := s.prepare(ctx, r, sc, probes)
		if err != nil {
			return none, err
		}
		resp, err := local(ctx)
		if err != nil {
			return none, err
		}
		if r.level != levelBounded {
			_ = grpc.SetTrailer(ctx, metadata.Pairs(metaRead, r.level.String())) // fails only outside of a call
			return resp, nil
		}
		age := s.cfg.Uptime() - asOf
		if age <= r.max {
			s.tellStaleness(ctx, age)
			return resp, nil
		}
		if tries == maxStaleReads {
			slow := &finding{subject: subject{dc: s.name}, asOf: asOf, known: true}
			return none, s.tooStale(slow, r.max, fmt.Errorf("it was new enough before it was read, %d times", tries)) //nolint:err113 // of this one message
		}
	}
}

// prepare returns once what this node has applied has what the level promises; of a bounded read, as of when.
func (s *Server) prepare(ctx context.Context, r reading, sc *scope, probes []*pb.RangeRequest) (asOf time.Duration, err error) {
	start := time.Now()
	defer s.metrics.readWait(r.level, start)
	err = s.route(ctx, isForwarded(ctx), func() (err error) {
		ctx, cancel := withRoomToAnswer(ctx)
		defer cancel()
		if r.level == levelQuorum {
			return s.quorum(ctx)
		}
		asOf, err = s.bound(ctx, s.subjectsOf(sc), r.max)
		return err
	}, func(to *neighbor) (fate, error) {
		asOf = math.MaxInt64
		for _, probe := range probes {
			sent := s.cfg.Uptime()
			at, trailer, f, err := s.probeLeader(ctx, to, probe)
			if f != fateAnswered || err != nil {
				return f, err
			}
			age, known := ageOf(r, trailer)
			if !known {
				return fateAnswered, fmt.Errorf("%w: %s: this datacenter's leader is of a version that does not know it: upgrade it", errOldLeader, r.what())
			}
			asOf = min(asOf, sent-age)
			if err := s.awaitRevision(ctx, at); err != nil {
				return fateAnswered, err
			}
		}
		return fateAnswered, nil
	})
	return asOf, err
}

var errOldLeader = errors.New("nothing was read")

// ageOf is what the leader's answer tells of the age of its state; known is false when it did not read as it was asked to.
func ageOf(r reading, trailer metadata.MD) (age time.Duration, known bool) {
	if r.level != levelBounded {
		return 0, first(trailer[metaRead]) == r.level.String()
	}
	age, err := time.ParseDuration(first(trailer[trailerStaleness]))
	return age, err == nil
}

// withRoomToAnswer ends a little before its parent, so that who waits for the answer, another node maybe, hears what was
// waited for in vain.
func withRoomToAnswer(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	left := time.Until(end)
	return context.WithTimeout(ctx, left-min(left/5, answerGrace))
}

// tellStaleness says how old the state was, at most.
func (s *Server) tellStaleness(ctx context.Context, age time.Duration) {
	s.metrics.staleness.Observe(age.Seconds())
	age = (age + time.Microsecond - 1).Truncate(time.Microsecond)
	_ = grpc.SetTrailer(ctx, metadata.Pairs(trailerStaleness, age.String())) // fails only outside of a call
}

// probeLeader reads a little at the leader: at is the revision that it has answered with.
func (s *Server) probeLeader(ctx context.Context, to *neighbor, probe *pb.RangeRequest) (at int64, trailer metadata.MD, f fate, err error) {
	fctx, cancel := context.WithTimeout(s.forward.outgoing(ctx), s.cfg.RouteTimeout+s.cfg.RequestTimeout+time.Second)
	defer cancel()
	var reached peer.Peer
	resp, err := pb.NewKVClient(to).Range(fctx, probe, grpc.Trailer(&trailer), grpc.Peer(&reached))
	if f = fateOf(err, trailer, &reached); err == nil {
		return resp.Header.Revision, trailer, f, nil
	}
	if f == fateUnknown && ctx.Err() == nil {
		f = fateNotDone // a read may be repeated
	}
	return 0, trailer, f, err
}

// awaitRevision waits until this node has applied a revision of its datacenter.
func (s *Server) awaitRevision(ctx context.Context, want int64) error {
	return s.awaitApplied(ctx, func() error {
		if at := s.dc.Revision(); at < want {
			return fmt.Errorf("this node has applied revision %d, and its leader %d", at, want) //nolint:err113 // of one message
		}
		return nil
	})
}
