package gateway

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

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

	patience time.Duration // for the leader's gateway

	over atomic.Bool       // whoever sets it answers
	quit func(cause error) // nobody waits for the outcome any more; set before others know of the write

	// The outcome; set before it is handed over.
	response proto.Message
	made     dc.Commit
	err      error

	waiting // in overdue
}

// writeNow begins to answer a write that has been checked.
func (s *Server) writeNow(w *quickWrite, err error) {
	w.start = time.Now()
	if err == nil {
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
	abandon, err := w.propose()
	if err != nil {
		w.err = err
		w.settle()
		return
	}
	w.await(s.cfg.RequestTimeout, func(cause error) {
		abandon()
		if w.claim() {
			w.fail(errors.Join(dc.ErrUnknownOutcome, cause))
		}
	})
}

// await says how the write ends when its outcome is not there in time, or nobody waits for it.
func (w *quickWrite) await(patience time.Duration, quit func(cause error)) {
	w.quit = quit
	w.s.overdue.add(w, patience)
	w.call.Wait(func() { quit(context.Canceled) })
}

func (w *quickWrite) propose() (abandon func(), err error) {
	if put, ok := w.req.(*pb.PutRequest); ok {
		return w.s.dc.SubmitPut(put, w.call.Request(), w)
	}
	return w.s.dc.SubmitTxn(w.req.(*pb.TxnRequest), w.call.Request(), w)
}

// Done is called where entries are applied: the answer is made elsewhere.
func (w *quickWrite) Done(response proto.Message, made dc.Commit, err error) {
	w.response, w.made, w.err = response, made, err
	w.s.outcomes.put(w)
}

// claim says whether the caller is the one who answers.
func (w *quickWrite) claim() bool {
	if w.over.Swap(true) {
		return false
	}
	w.s.overdue.remove(w)
	return true
}

// settle answers a write with its outcome.
func (w *quickWrite) settle() {
	if !w.claim() {
		return
	}
	s := w.s
	switch {
	case retryable(w.err), isOldRevision(w.err): // it was not made
		w.call.spawn()
		return
	case w.err != nil:
		w.fail(w.err)
		return
	}
	resp := w.response.(answer)
	s.fill(resp.GetHeader())
	receipt := policy.Receipt{
		Token:  policy.Token{Origin: s.name, Epoch: w.made.Epoch, Revision: w.made.Revision},
		Policy: w.policy, AckedBy: s.onlyHere,
	}
	changed := w.made.Revision != 0
	if !changed { // the token names the newest write of this datacenter instead
		receipt.Token.Revision = s.dc.Position(s.name).Revision
	}
	s.metrics.observe(w.method, int(w.policy), w.start, nil)
	w.call.reply(resp, receiptTrailer(receipt, changed))
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
	giveUp, err := to.line.Submit(w.name, s.forward.mark, w.call.Request(), w)
	if err != nil { // nothing was sent
		w.call.spawn()
		return
	}
	s.metrics.forwarded.Inc()
	w.await(w.patience, func(cause error) {
		if err := giveUp(cause); err != nil && w.claim() {
			w.fail(errors.Join(ErrConnectionLost, err))
		}
	})
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
