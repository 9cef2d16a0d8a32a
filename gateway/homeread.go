package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication"
	"geogate/replication/homes"
)

// A linearizable read of a single-writer keyspace is answered from this node's own data, in its own revisions, in
// three steps: the home says up to where its writes count as of now, this node waits until it has applied that, and
// reads. Only the leader asks the home; the other nodes ask their leader with a small read and wait for its revision.

// linearized is what came of the first two steps: how to read, and what must still hold afterwards.
type linearized struct {
	applied bool        // this node has applied all that the read must see: it reads its own state
	here    []*single   // keyspaces whose home this datacenter is: it must still be after the read
	there   []elsewhere // the others, where this node leads
	epochs  map[string]uint64
	upTo    int64 // revision of the leader's state, where this node does not lead; else 0
}

// elsewhere is a keyspace whose home is another datacenter, and what that said up to where to read.
type elsewhere struct {
	k      *single
	home   homes.Life
	epoch  uint64
	points []point
}

// homeRead runs a read of what the scope touches. local reads: from what is applied here, or linearizable within this
// datacenter; if it reads just the state of upTo, it sets that to 0.
func homeRead[R any](ctx context.Context, s *Server, sc *scope, probes []*pb.RangeRequest, local func(ctx context.Context, lin *linearized) (R, error)) (R, error) {
	var none R
	if len(sc.singles) == 0 {
		return local(ctx, &linearized{})
	}
	lin, err := s.linearizeHomes(ctx, sc, probes)
	if err != nil {
		return none, err
	}
	resp, err := local(ctx, lin)
	if err != nil {
		return none, err
	}
	if err := s.secureHere(ctx, lin); err != nil {
		return none, err
	}
	if err := s.secureThere(ctx, lin); err != nil {
		return none, err
	}
	if lin.upTo > 0 {
		for seen, upTo := s.dc.Revision(), lin.upTo; seen > upTo; { // it may have seen more than the leader had secured
			again, err := s.linearizeHomes(ctx, sc, probes)
			if err != nil {
				return none, err
			}
			upTo = again.upTo
		}
	}
	return resp, s.stillReading(lin)
}

// homeRange is a linearizable range where some keyspaces are single-writer.
func (s *Server) homeRange(ctx context.Context, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	if isForwarded(ctx) {
		s.markServed(ctx)
	}
	probes := []*pb.RangeRequest{probeOf(req.Key, req.RangeEnd)}
	return homeRead(ctx, s, s.keyspaces.scopeOf(req), probes, func(ctx context.Context, lin *linearized) (*pb.RangeResponse, error) {
		if !lin.applied {
			return s.dc.Range(ctx, req)
		}
		if lin.upTo > 0 && req.Revision == 0 {
			resp, err := s.rangeAt(ctx, req, lin.upTo)
			if err == nil || !isCompacted(err) {
				lin.upTo = 0
				return resp, err
			}
		}
		applied := proto.Clone(req).(*pb.RangeRequest)
		applied.Serializable = true
		return s.dc.Range(ctx, applied)
	})
}

// linearizeHomes makes the first two steps for every single-writer keyspace of the scope.
func (s *Server) linearizeHomes(ctx context.Context, sc *scope, probes []*pb.RangeRequest) (*linearized, error) {
	var lin *linearized
	forwarded := isForwarded(ctx)
	err := s.route(ctx, forwarded, func() (err error) {
		lin, err = s.linearizeAsLeader(ctx, sc)
		return err
	}, func(to *neighbor) (fate, error) {
		lin = &linearized{applied: true}
		for _, probe := range probes {
			at, f, err := s.linearizeByLeader(ctx, to, probe)
			if f != fateAnswered || err != nil {
				return f, err
			}
			if lin.upTo == 0 || at < lin.upTo {
				lin.upTo = at
			}
		}
		return fateAnswered, nil
	})
	return lin, err
}

// linearizeByLeader reads a little at the leader and waits until this node has applied what that read saw.
func (s *Server) linearizeByLeader(ctx context.Context, to *neighbor, probe *pb.RangeRequest) (int64, fate, error) {
	want, _, f, err := s.probeLeader(ctx, to, probe)
	if f != fateAnswered || err != nil {
		return 0, f, err
	}
	return want, fateAnswered, s.awaitRevision(ctx, want)
}

// linearizeAsLeader asks each home. Keyspaces of different homes have no state in common that one read could show.
func (s *Server) linearizeAsLeader(ctx context.Context, sc *scope) (*linearized, error) {
	singles := sc.sorted()
	if len(singles) > 1 && len(s.homesOf(singles)) > 1 {
		return nil, fmt.Errorf("nothing was read: %w: it touches %s: read each keyspace by itself, or serializable, which shows what is applied here",
			ErrSeveralWriters, s.describe(sc))
	}
	lin := &linearized{applied: len(sc.multi) == 0, epochs: map[string]uint64{}}
	for _, k := range singles {
		st, points, err := s.linearizeHome(ctx, k)
		if err != nil {
			return nil, err
		}
		if st.Home.DC == s.name {
			lin.applied = false // the read itself waits for what is committed in this datacenter
			lin.here = append(lin.here, k)
			lin.epochs[k.prefix] = st.Epoch
		} else {
			lin.there = append(lin.there, elsewhere{k, st.Home, st.Epoch, points})
		}
	}
	return lin, nil
}

// linearizeHome returns once this node has applied all that counts of a keyspace, which the answer of the home tells;
// at the home itself it looks only whether it may serve reads.
func (s *Server) linearizeHome(ctx context.Context, k *single) (replication.Standing, []point, error) {
	start := time.Now()
	st, points, err := s.pointsAtHome(ctx, k)
	if err != nil || st.Home.DC == s.name {
		return st, nil, err
	}
	if cause := s.awaitPoints(ctx, points); cause != nil {
		err = &staleError{here: s.name, keyspace: k.prefix, home: st.Home.DC, cause: cause}
	}
	s.metrics.readPoint(err, start)
	return st, points, err
}

// pointsAtHome asks the home up to where a read must see now. At the home itself there is nothing to ask: it may serve
// reads then.
func (s *Server) pointsAtHome(ctx context.Context, k *single) (replication.Standing, []point, error) {
	search := s.newHomeSearch(ctx, k, s.cfg.RequestTimeout)
	defer search.cancel()
	for {
		st := s.cfg.Homes.Standing(k.prefix)
		var err error
		switch {
		case st.Home.DC == s.name && st.Reading:
			return st, nil, nil
		case st.Home.DC == "" || st.Home.DC == s.name:
		default:
			var points []point
			if points, err = s.askPoints(ctx, k, &st); err == nil {
				return st, points, nil
			}
			s.metrics.readPoint(err, time.Time{})
			if retryable(err) || !neverMade(err) && !refusedByHome(err) {
				return st, nil, err
			}
			search.moved = true
		}
		if !search.again() {
			return st, nil, s.noHome(k, st, err)
		}
	}
}

// askPoints asks a datacenter for them as the home; the epoch of the standing is the one that it answers in.
func (s *Server) askPoints(ctx context.Context, k *single, st *replication.Standing) ([]point, error) {
	callCtx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	reply, err := s.cfg.Homes.Call(callCtx, st.Home.DC, replication.Request{
		Method: callReadPoint, Header: map[string][]string{callKeyspace: {k.prefix}},
	})
	if err == nil {
		err = replyStatus(&reply)
	} else if !errors.Is(err, replication.ErrNotLeading) {
		err = fmt.Errorf("%w: %s did not say up to where to read: %w", replication.ErrNotDelivered, st.Home.DC, err) // a question may be repeated
	}
	if err != nil {
		return nil, err
	}
	points, err := parsePoints(first(reply.Header[callPoints]))
	if err != nil {
		return nil, fmt.Errorf("answer of %s: %w", st.Home.DC, err)
	}
	if epoch, err := strconv.ParseUint(first(reply.Header[callEpoch]), 10, 64); err == nil { // an older version says nothing
		st.Epoch = epoch
	}
	return points, nil
}

// serveReadPoint answers readPoint, at the home. The lease is looked at once more after what is to be seen was found
// out: a process that was stopped in between must not answer for a home that is none any more.
func (s *Server) serveReadPoint(ctx context.Context, keyspace string) error {
	k := s.keyspaces.single(keyspace)
	if k == nil {
		return fmt.Errorf("%w: keyspace %q is not single-writer in %s: the datacenters' configurations differ", ErrMetadata, keyspace, s.name)
	}
	st := s.cfg.Homes.Standing(keyspace)
	if !st.Reading || st.Home.DC != s.name {
		return s.noHome(k, st, nil)
	}
	if err := s.linearize(ctx); err != nil {
		return err
	}
	points := s.pointsOf(keyspace)
	if err := s.secure(ctx, k, s.keyspaces.ruleOf(k)); err != nil {
		return err
	}
	if now := s.cfg.Homes.Standing(keyspace); !now.Reading || now.Epoch != st.Epoch {
		return s.noHome(k, now, nil)
	}
	return grpc.SetTrailer(ctx, metadata.Pairs(callPoints, formatPoints(points), callEpoch, strconv.FormatUint(st.Epoch, 10)))
}

// stillReading is asked after a read: whether this datacenter was the home until the end of it.
func (s *Server) stillReading(lin *linearized) error {
	for _, k := range lin.here {
		st := s.cfg.Homes.Standing(k.prefix)
		if !st.Reading || st.Epoch != lin.epochs[k.prefix] {
			return s.noHome(k, st, nil)
		}
	}
	return nil
}

// probeOf is the smallest read that a leader answers only when it may be seen as linearizable: of the same range, so
// that it needs no other permission.
func probeOf(key, end []byte) *pb.RangeRequest {
	return &pb.RangeRequest{Key: key, RangeEnd: end, Limit: 1, KeysOnly: true}
}

// probesOfTxn are those of the ranges that a read-only transaction touches, where the keyspaces count: each needs no other
// permission than the transaction.
func probesOfTxn(req *pb.TxnRequest, counts func(key, end []byte) bool) (probes []*pb.RangeRequest) {
	add := func(key, end []byte) {
		if counts(key, end) {
			probes = append(probes, probeOf(key, end))
		}
	}
	eachCompare(req, func(c *pb.Compare) { add(c.Key, c.RangeEnd) })
	eachOp(req, func(op *pb.RequestOp) { add(op.GetRequestRange().GetKey(), op.GetRequestRange().GetRangeEnd()) })
	return probes
}

// inSingle says whether a range touches single-writer keyspaces.
func (s *Server) inSingle(key, end []byte) bool {
	sc := &scope{}
	s.keyspaces.touched(key, end, sc.add)
	return len(sc.singles) > 0
}

// staleError is the refusal of a linearizable read because this datacenter is too far behind.
type staleError struct {
	here, keyspace, home string
	cause                error
}

func (e *staleError) Error() string {
	return fmt.Sprintf("nothing was read: %s has not applied what its home %s has of keyspace %q: %v; read serializable if an older state will do, "+
		"or see `geogate lag`", e.here, e.home, e.keyspace, e.cause)
}

func (e *staleError) Unwrap() error { return e.cause }
