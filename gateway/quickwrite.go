package gateway

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/gateway/trunk"
	"geogate/gateway/trunk/trunkpb"
	"geogate/replication/policy"
)

// quickWrite is a write that is answered without a goroutine of its own, from its request to its answer: here, when this
// node leads, else by the leader over a trunk. Whatever goes another way than nearly always, it leaves to the ordinary
// handler, as long as the write is known not to have been made.
type quickWrite struct {
	s      *Server
	call   quickCall
	method method
	name   string
	req    proto.Message
	policy policy.Policy
	start  time.Time

	timeout  time.Duration // for the peers, from the commit on
	patience time.Duration // for the leader's gateway
	waited   func()        // ends what Admit has counted; nil for nothing

	over   atomic.Bool                       // whoever sets it answers
	cancel atomic.Pointer[func()]            // ends what is waited for here
	quit   atomic.Pointer[func(cause error)] // nobody waits for the outcome any more, or it is late

	// The outcome; set before it is handed over.
	response  proto.Message
	made      dc.Commit
	err       error
	committed time.Time // zero before
	ackedBy   []string  // with committed: the peers have had their say

	waiting // in overdue
}

// writeNow begins to answer a write that has been checked.
func (s *Server) writeNow(w *quickWrite, err error) {
	w.start = time.Now()
	if err == nil && len(w.call.Request()) > s.cfg.MaxRequestBytes { // no message is larger than what it was read from
		err = checkSize(w.req, s.cfg.MaxRequestBytes)
	}
	if err != nil {
		s.metrics.observe(w.method, noPolicy, w.start, err)
		w.call.Fail(err, nil)
		return
	}
	if _, leading := s.dc.Leading(); leading {
		w.submit()
		return
	}
	w.forward()
}

// submit makes the write here.
func (w *quickWrite) submit() {
	s := w.s
	if s.replication.Originate() != nil {
		w.call.spawn()
		return
	}
	if s.waitsForPeers(w.policy) {
		waited, err := s.replication.Admit(w.policy)
		if err != nil {
			waited()
			w.call.spawn()
			return
		}
		w.waited = waited
	}
	w.await(s.cfg.RequestTimeout, w.leave)
	abandon, err := w.propose()
	if err != nil {
		w.err = err
		w.settle()
		return
	}
	w.cancel.CompareAndSwap(nil, &abandon) // unless it waits for the peers by now
	w.call.Wait(func() { (*w.quit.Load())(context.Canceled) })
}

func (w *quickWrite) propose() (abandon func(), err error) {
	if put, ok := w.req.(*pb.PutRequest); ok {
		return w.s.dc.SubmitPut(put, w.call.Request(), w)
	}
	return w.s.dc.SubmitTxn(w.req.(*pb.TxnRequest), w.call.Request(), w)
}

// await has the write end by quit when its outcome is not there in time.
func (w *quickWrite) await(patience time.Duration, quit func(cause error)) {
	w.quit.Store(&quit)
	w.s.overdue.add(w, patience)
}

// Done is called where entries are applied: the answer is made elsewhere.
func (w *quickWrite) Done(response proto.Message, made dc.Commit, err error) {
	w.response, w.made, w.err = response, made, err
	w.s.outcomes.put(w)
}

// leave answers a write of this node that is not waited for any more.
func (w *quickWrite) leave(cause error) {
	if !w.claim() {
		return
	}
	if cancel := w.cancel.Load(); cancel != nil {
		(*cancel)()
	}
	w.fail(errors.Join(dc.ErrUnknownOutcome, cause))
}

// claim says whether the caller is the one who answers.
func (w *quickWrite) claim() bool {
	if w.over.Swap(true) {
		return false
	}
	w.s.overdue.remove(w)
	if w.waited != nil {
		w.waited()
	}
	return true
}

// settle goes on with a write that has an outcome: to its peers, or to its answer.
func (w *quickWrite) settle() {
	if w.err == nil && w.committed.IsZero() && w.made.Revision != 0 && w.s.waitsForPeers(w.policy) {
		w.askPeers()
		return
	}
	if !w.claim() {
		return
	}
	switch {
	case !w.committed.IsZero() && w.err != nil:
		w.spawnSettle()
	case retryable(w.err), isOldRevision(w.err): // it was not made
		w.call.spawn()
	case w.err != nil:
		w.fail(w.err)
	default:
		w.succeed()
	}
}

func (w *quickWrite) succeed() {
	s := w.s
	resp := w.response.(answer)
	s.fill(resp.GetHeader())
	receipt := policy.Receipt{Token: w.token(), Policy: w.policy, AckedBy: s.onlyHere}
	changed := w.made.Revision != 0
	switch {
	case !changed: // the token names the newest write of this datacenter instead
		receipt.Token.Revision = s.dc.Position(s.name).Revision
	case !w.committed.IsZero():
		receipt.AckedBy, receipt.Elapsed = acked(s.name, w.ackedBy), time.Since(w.committed)
		s.metrics.policyWait[w.policy].Observe(receipt.Elapsed.Seconds())
	}
	s.metrics.observe(w.method, int(w.policy), w.start, nil)
	w.call.reply(resp, receiptTrailer(receipt, changed))
}

func (w *quickWrite) token() policy.Token {
	return policy.Token{Origin: w.s.name, Epoch: w.made.Epoch, Revision: w.made.Revision}
}

// askPeers waits until the policy is met, without a goroutine.
func (w *quickWrite) askPeers() {
	w.s.overdue.remove(w)
	w.committed = time.Now()
	cancel, ok := w.s.replication.Notify(w.made.Revision, w.policy, w)
	if !ok {
		w.spawnSettleOnce()
		return
	}
	forget := func() { cancel() }
	w.cancel.Store(&forget)
	w.await(time.Since(w.start)+w.timeout, func(cause error) {
		switch {
		case !w.claim():
		case errors.Is(cause, context.Canceled): // nobody reads the answer
			forget()
			w.s.metrics.policyFailed(w.policy, failCanceled)
			w.fail(ErrNotMet)
		default:
			forget()
			w.spawnSettle()
		}
	})
	if w.over.Load() { // its client left before the peers were asked: what was ended then was the wait for the commit
		forget()
	}
}

// Confirmed is called where acks are received.
func (w *quickWrite) Confirmed(ackedBy []string, err error) {
	w.ackedBy, w.err = ackedBy, err
	w.s.outcomes.put(w)
}

func (w *quickWrite) spawnSettleOnce() {
	if w.claim() {
		w.spawnSettle()
	}
}

// spawnSettle has the ordinary way find out, in what is left of the time, how a committed write stands, and word it. It may find
// that the policy is met by now, or that another node leads.
func (w *quickWrite) spawnSettle() {
	s := w.s
	s.receivers.Go(func() {
		trailers := &trailerStream{method: w.name}
		ctx := grpc.NewContextWithServerTransportStream(context.Background(), trailers)
		left := max(time.Until(w.committed.Add(w.timeout)), 0)
		err := s.settle(ctx, w.made, rule{policy: w.policy, asked: w.policy, timeout: left})
		if err != nil {
			err = writeStatus(err)
		}
		s.metrics.observe(w.method, int(w.policy), w.start, err)
		if err != nil {
			w.call.Fail(err, trailers.pairs())
			return
		}
		resp := w.response.(answer)
		s.fill(resp.GetHeader())
		w.call.reply(resp, trailers.pairs())
	})
}

// fail answers with an error, which may be of the domain.
func (w *quickWrite) fail(err error) {
	err = writeStatus(err)
	w.s.metrics.observe(w.method, int(w.policy), w.start, err)
	w.call.Fail(err, nil)
}

// forward has the leader make the write.
func (w *quickWrite) forward() {
	s := w.s
	to, self, err := s.leader()
	if err != nil || self || to == nil || w.call.forwarded() {
		w.call.spawn()
		return
	}
	md := s.forward.mark
	if own := w.call.Metadata(); len(own) > 0 {
		md = slices.Concat(md, own)
	}
	giveUp, err := to.line.Submit(w.name, md, w.call.Request(), w)
	if err != nil { // nothing was sent
		w.call.spawn()
		return
	}
	s.metrics.forwarded.Inc()
	leave := func(cause error) {
		if err := giveUp(cause); err != nil && w.claim() {
			w.fail(errors.Join(ErrConnectionLost, err))
		}
	}
	w.await(w.patience, leave)
	w.call.Wait(func() { leave(context.Canceled) })
}

// Answered is called where answers of the leader are received.
func (w *quickWrite) Answered(reply *trunkpb.Reply, err error) {
	if !w.claim() {
		return
	}
	if err == nil {
		err = trunk.Status(reply)
	}
	switch {
	case err == nil:
		w.s.metrics.observe(w.method, int(w.policy), w.start, nil)
		w.call.pass(reply.Response, clientTrailers(reply.Trailer))
	case errors.Is(err, trunk.ErrNotSent), errors.Is(err, trunk.ErrUnsupported), isNotLeader(err):
		w.call.spawn() // it was not made
	case errors.Is(err, trunk.ErrLost):
		w.fail(errors.Join(ErrConnectionLost, err))
	default:
		err = writeStatus(err)
		w.s.metrics.observe(w.method, int(w.policy), w.start, err)
		w.call.Fail(err, clientTrailers(reply.Trailer))
	}
}

// clientTrailers are those of another gateway's trailers that are the client's.
func clientTrailers(pairs []string) []string {
	for i := 0; i+1 < len(pairs); i += 2 {
		if !strings.HasPrefix(pairs[i], "geogate-") || pairs[i] == trailerServedBy {
			pairs[i] = ""
		}
	}
	out := pairs[:0]
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] != "" {
			out = append(out, pairs[i], pairs[i+1])
		}
	}
	return out
}
