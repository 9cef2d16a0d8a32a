package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/gateway/trunk"
	"geogate/replication"
	"geogate/replication/policy"
)

// operation is one kind of write: how it is committed here, and how it is handed to another gateway.
type operation[Q proto.Message, R response] struct {
	method method
	local  func(Writer, context.Context, Q) (R, dc.Commit, error)
	remote func(context.Context, time.Duration, *forwarder, *neighbor, Q) (R, metadata.MD, fate, error)
	check  func(*Server, context.Context, Q) error // that the caller may do it, once more
	exempt bool                                    // from policies: it changes nothing that peers hold
}

type response interface {
	comparable
	proto.Message
	GetHeader() *pb.ResponseHeader
}

var (
	opPut = operation[*pb.PutRequest, *pb.PutResponse]{
		method: methodPut, local: Writer.Put,
		remote: carriedBy[*pb.PutRequest, pb.PutResponse](pb.KV_Put_FullMethodName),
		check: func(s *Server, ctx context.Context, r *pb.PutRequest) error {
			return s.authorizePut(ctx, r)
		},
	}
	opDeleteRange = operation[*pb.DeleteRangeRequest, *pb.DeleteRangeResponse]{
		method: methodDeleteRange, local: Writer.DeleteRange,
		remote: carriedBy[*pb.DeleteRangeRequest, pb.DeleteRangeResponse](pb.KV_DeleteRange_FullMethodName),
		check: func(s *Server, ctx context.Context, r *pb.DeleteRangeRequest) error {
			return s.authorizeWrite(ctx, r.Key, r.RangeEnd, r.PrevKv)
		},
	}
	opTxn = operation[*pb.TxnRequest, *pb.TxnResponse]{
		method: methodTxn, local: Writer.Txn, check: (*Server).authorizeTxn,
		remote: carriedBy[*pb.TxnRequest, pb.TxnResponse](pb.KV_Txn_FullMethodName),
	}
	opCompact = operation[*pb.CompactionRequest, *pb.CompactionResponse]{
		method: methodCompact, exempt: true,
		remote: carriedBy[*pb.CompactionRequest, pb.CompactionResponse](pb.KV_Compact_FullMethodName),
		check: func(s *Server, ctx context.Context, _ *pb.CompactionRequest) error {
			return s.authorize(ctx, ActionAdmin, nil, nil)
		},
		local: func(w Writer, ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, dc.Commit, error) {
			resp, err := w.Compact(ctx, r)
			return resp, dc.Commit{}, err
		},
	}
)

// write takes a request that has been checked through to its receipt: here, when this node leads, else at
// the leader's gateway. The error may be of the domain.
func write[Q proto.Message, R response](ctx context.Context, s *Server, op *operation[Q, R], req Q, r rule) (R, error) {
	forwarded := isForwarded(ctx)
	if forwarded && !trunk.Carries(ctx) {
		s.markServed(ctx)
	}
	if _, leading := s.dc.Leading(); leading { // the common case, without closures
		resp, err := lead(ctx, s, op, req, r)
		if !retryable(err) {
			return resp, err
		}
	}
	return writeRouted(ctx, s, op, req, r, forwarded)
}

func writeRouted[Q proto.Message, R response](ctx context.Context, s *Server, op *operation[Q, R], req Q, r rule, forwarded bool) (R, error) {
	var resp R
	err := s.route(ctx, forwarded,
		func() (err error) {
			resp, err = lead(ctx, s, op, req, r)
			return err
		},
		func(to *neighbor) (fate, error) {
			s.metrics.forwarded.Inc()
			var trailer metadata.MD
			var f fate
			var err error
			resp, trailer, f, err = op.remote(ctx, s.patience(&r), s.forward, to, req)
			if f == fateAnswered {
				_ = grpc.SetTrailer(ctx, ourTrailers(trailer)) // fails only outside of a call
			}
			return f, err
		})
	if err != nil {
		var none R
		return none, err
	}
	return resp, nil
}

// patience is how long the leader's gateway may take to answer a write.
func (s *Server) patience(r *rule) time.Duration {
	d := s.cfg.RequestTimeout + r.patience() + time.Second
	if r.single != nil { // a home is looked for, answers, and its write arrives here
		d += s.cfg.RouteTimeout + s.cfg.RequestTimeout
	}
	return d
}

// lead makes the write as the leader: in this datacenter, or at the home of its keyspace.
func lead[Q proto.Message, R response](ctx context.Context, s *Server, op *operation[Q, R], req Q, r rule) (R, error) {
	if r.single != nil {
		return atHome(ctx, s, op, req, r)
	}
	return commit(ctx, s, op, req, r)
}

// commit makes the write in this datacenter and waits until its policy is met. An error that is not
// retryable is final; [ErrNotMet] is the only one after which the write is known to be committed.
func commit[Q proto.Message, R response](ctx context.Context, s *Server, op *operation[Q, R], req Q, r rule) (R, error) {
	var none R
	if op.exempt {
		r.policy = policy.Async
	}
	r.asked = r.policy
	var err error
	if !op.exempt && r.single == nil { // no stamp decides in a single-writer keyspace
		if err := s.fenced(ctx, r); err != nil {
			return none, err
		}
	}
	if s.waitsForPeers(r.policy) {
		switch r.unreachable {
		case UnreachableFail:
			waited, err := s.replication.Admit(r.policy)
			if err != nil {
				return none, s.unreachable(ctx, r, err)
			}
			defer waited()
		case UnreachableDegrade:
			if r.policy, err = s.weaken(ctx, r, proto.Size(req)); err != nil {
				return none, err
			}
		}
	}
	var held admission
	if !op.exempt && r.lag.bounded() {
		if held, err = s.withinBudget(ctx, r, proto.Size(req)); err != nil {
			s.notWritten(r, req)
			return none, err
		}
	}
	commitCtx := dc.WithPatience(ctx, s.cfg.RequestTimeout)
	if r.request != "" {
		commitCtx = dc.WithRequestID(commitCtx, r.request)
	}
	if r.policy != r.asked {
		commitCtx = dc.WithDegraded(commitCtx, r.degrade.account(r.asked, int64(proto.Size(req))))
	}
	if r.auth != 0 {
		commitCtx = dc.WithAuthRevision(commitCtx, r.auth)
	}
	resp, made, err := op.local(s.dc, commitCtx, req)
	if isOldRevision(err) {
		resp, made, err = permitAnew(ctx, commitCtx, s, op, req)
	}
	held.done()
	if err != nil {
		if retryable(err) {
			s.notWritten(r, req)
		}
		return none, err
	}
	s.fill(resp.GetHeader())
	if op.exempt {
		return resp, nil
	}
	if err := s.settle(ctx, made, r); err != nil {
		return none, err
	}
	return resp, nil
}

// waitsForPeers says whether a policy asks for more than the commit in this datacenter.
func (s *Server) waitsForPeers(p policy.Policy) bool { return !p.Met(s.replication.Holders(), 1) }

// maxPermits bounds how often a write is permitted anew because users and roles change all the time.
const maxPermits = 5

// permitAnew makes a write again that was not applied because users and roles had changed since it was permitted:
// if they still permit it.
func permitAnew[Q proto.Message, R response](ctx, commitCtx context.Context, s *Server, op *operation[Q, R], req Q) (resp R, made dc.Commit, err error) {
	for range maxPermits {
		revision := s.authRevision()
		if err = op.check(s, ctx, req); err != nil {
			return resp, made, err
		}
		resp, made, err = op.local(s.dc, dc.WithAuthRevision(commitCtx, revision), req)
		if !isOldRevision(err) {
			break
		}
	}
	return resp, made, err
}

// authRevision is the revision of users and roles in force here, 0 while authentication is off. It must be taken
// before a check: users and roles that come after it only refuse a write.
func (s *Server) authRevision() uint64 {
	if st := s.users(); st != nil {
		return st.Revision
	}
	return 0
}

// notWritten gives back what a degraded write would have used up.
func (s *Server) notWritten(r rule, req proto.Message) {
	if r.policy != r.asked {
		s.giveBack(r.degrade.of, int64(proto.Size(req)))
	}
}

// unreachable words the refusal before anything is written. Of an earlier attempt with the same request id it
// knows nothing.
func (s *Server) unreachable(ctx context.Context, r rule, err error) error {
	if retryable(err) {
		return err
	}
	s.metrics.policyFailed(r.policy, failUnreachable)
	_ = grpc.SetTrailer(ctx, metadata.Pairs(metaPolicy, r.policy.String())) // fails only outside of a call
	done := "nothing was written"
	if r.request != "" {
		done += " by this attempt"
	}
	return fmt.Errorf("%s: %w: %s: %w", done, ErrUnreachable, r.policy, err)
}

// settle waits for the peers as the policy asks and sends the receipt.
func (s *Server) settle(ctx context.Context, made dc.Commit, r rule) error {
	receipt := policy.Receipt{
		Token:   policy.Token{Origin: s.name, Epoch: made.Epoch, Revision: made.Revision},
		Policy:  r.asked,
		AckedBy: s.onlyHere,
	}
	if r.policy != r.asked {
		_ = grpc.SetTrailer(ctx, metadata.Pairs(trailerDegraded, r.policy.String())) // fails only outside of a call
	}
	if made.Repeated {
		setReplayed(ctx, made)
		if made.Origin != "" {
			return s.settleForeign(ctx, made, r)
		}
	}
	if made.Revision == 0 { // nothing changed: the token names the newest write of this datacenter instead
		if err := s.secureUnchanged(ctx, r); err != nil {
			return err
		}
		receipt.Token.Revision = s.dc.Position(s.name).Revision
		setReceipt(ctx, receipt, false)
		return nil
	}
	if !s.waitsForPeers(r.policy) {
		setReceipt(ctx, receipt, true)
		return nil
	}
	start := time.Now()
	waiting := ctx
	if r.single != nil { // else acks of what was set aside would pass for acks
		waiting = replication.WithTenure(ctx, r.single.prefix, made.Epoch)
	}
	names, err := s.await(waiting, receipt.Token, r.policy, r.timeout, false)
	receipt.AckedBy, receipt.Elapsed = acked(s.name, names), time.Since(start)
	s.metrics.policyWait[r.policy].Observe(receipt.Elapsed.Seconds())
	setReceipt(ctx, receipt, true)
	if r.single != nil {
		if aside := s.setAsideIn(r.single.prefix, receipt.Token); aside != nil {
			return aside
		}
	}
	if err == nil {
		return nil
	}
	return s.notMet(ctx, receipt, r, err)
}

// notMet words what is known when the wait for the peers ended without success.
func (s *Server) notMet(ctx context.Context, receipt policy.Receipt, r rule, err error) error {
	receipt.Policy = r.policy
	notMet := &notMetError{receipt: receipt, repeatable: r.request != ""}
	if ctx.Err() != nil {
		s.metrics.policyFailed(r.policy, failCanceled)
		notMet.cause = ctx.Err()
		return notMet
	}
	s.metrics.policyFailed(r.policy, failTimeout)
	if !errors.Is(err, context.DeadlineExceeded) {
		notMet.cause = err
	}
	return notMet
}

// markServed tells the gateway that forwarded a call that its answer is this one's.
func (s *Server) markServed(ctx context.Context) {
	_ = grpc.SetTrailer(ctx, metadata.Pairs(trailerServedBy, s.forward.self)) // fails only outside of a call
}
