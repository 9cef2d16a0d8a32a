package replication

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"geogate/replication/wire"
)

// Request is a request of a client that another DC's leader must answer. All of it is the gateways' own business.
type Request struct {
	Method string
	Header map[string][]string
	Body   []byte
}

// Reply is the answer to a [Request].
type Reply struct {
	Header  map[string][]string // trailers
	Body    []byte
	Code    uint32 // of gRPC; 0 is success
	Message string
	Details []byte // a marshalled google.rpc.Status
}

// Calls answers the requests of other DCs, at the node that leads.
type Calls interface {
	// Serve answers one request. ctx ends when the asker does not wait any more, or this node no longer leads.
	Serve(ctx context.Context, from string, r Request) Reply
}

// Call has another DC's leader answer a request. It is sent at most once. The error wraps [ErrNotDelivered] when
// nothing was done with it, so that it may be sent again, or elsewhere; and [ErrUnknownOutcome] when it was sent, and
// may have been carried out or not, or may yet be. The deadline of ctx goes with it; without one, Config.CallTimeout
// holds.
func (e *Engine) Call(ctx context.Context, dc string, r Request) (Reply, error) {
	l := e.current.Load()
	if l == nil {
		return Reply{}, fmt.Errorf("%w: %w", ErrNotDelivered, ErrNotLeading)
	}
	p := l.peers[dc]
	if p == nil {
		return Reply{}, fmt.Errorf("%w: %q is no peer of %s", ErrNotDelivered, dc, e.cfg.Local)
	}
	k := p.receiver.link.Load()
	if k == nil {
		return Reply{}, p.notConnected()
	}
	reply, err := k.call(ctx, r)
	e.metrics.calls.WithLabelValues(dc, callResult(err)).Inc()
	if err != nil {
		err = fmt.Errorf("call of %s at %s: %w", r.Method, dc, err)
	}
	return reply, err
}

func callResult(err error) string {
	switch {
	case err == nil:
		return "answered"
	case errors.Is(err, ErrNotDelivered):
		return "not_delivered"
	}
	return "unknown"
}

// notConnected is the answer to a request that needs a connection to a DC's leader where there is none.
func (p *peer) notConnected() error {
	if why := p.receiver.reason(); why != "" {
		return fmt.Errorf("%w: no connection to the leader of %s: %s", ErrNotDelivered, p.name, why)
	}
	return fmt.Errorf("%w: no connection to the leader of %s yet", ErrNotDelivered, p.name)
}

func (r *receiver) reason() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status.reason
}

// errSession says that the other side's leader has begun a new session; nothing was done.
var errSession = errors.New("a new session")

// call sends a request on this link. Sessions are learnt from the first refusal.
func (k *link) call(ctx context.Context, r Request) (Reply, error) {
	select {
	case k.calls <- struct{}{}:
		defer func() { <-k.calls }()
	default:
		return Reply{}, fmt.Errorf("%w: %d calls to %s are under way, as many as may be", ErrNotDelivered, cap(k.calls), k.r.peer.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, k.r.cfg.CallTimeout) // of the two, the earlier one counts
	defer cancel()
	body, err := proto.Marshal(&wire.Call{Method: r.Method, Headers: toHeaders(r.Header), Body: r.Body})
	if err != nil {
		return Reply{}, fmt.Errorf("%w: %w", ErrNotDelivered, err)
	}
	if most := k.r.cfg.MaxCallBytes; len(body) > most {
		return Reply{}, fmt.Errorf("%w: it has %d bytes, a call may have %d", ErrNotDelivered, len(body), most)
	}
	room := int64(min(len(body), k.r.cfg.CallWindowBytes))
	if err := k.window.Acquire(ctx, room); err != nil {
		return Reply{}, fmt.Errorf("%w: %d bytes of calls to %s are under way: %w", ErrNotDelivered, k.r.cfg.CallWindowBytes, k.r.peer.Name, err)
	}
	defer k.window.Release(room)
	for range 3 {
		var reply Reply
		if reply, err = k.callOnce(ctx, body); !errors.Is(err, errSession) {
			return reply, err
		}
	}
	return Reply{}, fmt.Errorf("%w: %w again and again", ErrNotDelivered, err)
}

func (k *link) callOnce(ctx context.Context, body []byte) (Reply, error) {
	inbox := k.nc.NewInbox()
	sub, err := k.nc.SubscribeSync(inbox)
	if err != nil {
		return Reply{}, fmt.Errorf("%w: %w", ErrNotDelivered, err)
	}
	defer sub.Unsubscribe()                              //nolint:errcheck // the connection may be gone
	if err := sub.SetPendingLimits(-1, -1); err != nil { // MaxCallBytes bounds it
		return Reply{}, fmt.Errorf("%w: %w", ErrNotDelivered, err)
	}
	sequence, err := k.sendCall(ctx, inbox, body)
	if err != nil {
		return Reply{}, fmt.Errorf("%w: %w", ErrNotDelivered, err)
	}
	return k.awaitCall(ctx, sub, sequence)
}

// sendCall publishes the parts of a request, none of another one between them; only the last one asks for an answer,
// so without it nothing is begun.
func (k *link) sendCall(ctx context.Context, inbox string, body []byte) (uint64, error) {
	r := k.r
	k.callMu.Lock()
	defer k.callMu.Unlock()
	k.callSequence++
	timeout := r.cfg.CallTimeout
	if end, ok := ctx.Deadline(); ok {
		timeout = time.Until(end)
	}
	if timeout <= 0 {
		return 0, context.DeadlineExceeded
	}
	parts := slices.Collect(slices.Chunk(body, r.cfg.PartBytes))
	if len(parts) == 0 {
		parts = [][]byte{nil}
	}
	session := k.session.Load() // one for all parts: another call may learn it meanwhile
	for i, part := range parts {
		req := &wire.CallRequest{
			From: r.cfg.Local, To: r.peer.Name, Session: session, Asker: k.asker, Sequence: k.callSequence,
			Part: uint32(i), Parts: uint32(len(parts)), TotalBytes: uint64(len(body)), TimeoutNanos: int64(timeout), Data: part,
		}
		b, err := r.signer.Seal(wire.Kind_KIND_CALL_REQUEST, req)
		if err != nil {
			return 0, err
		}
		subject := callSubject(r.peer.Name, r.cfg.Local)
		if i+1 < len(parts) {
			err = k.nc.Publish(subject, b)
		} else {
			err = k.nc.PublishRequest(subject, inbox, b)
		}
		if err != nil {
			return 0, err
		}
	}
	return k.callSequence, nil
}

// awaitCall puts the answer together.
func (k *link) awaitCall(ctx context.Context, sub *nats.Subscription, sequence uint64) (Reply, error) {
	r := k.r
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(k.lost, func() { cancel(context.Cause(k.lost)) })
	defer stop()
	var data []byte
	for part := uint32(0); ; part++ {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			return Reply{}, fmt.Errorf("%w: nobody at %s takes calls: it is of an older version, or starting", ErrNotDelivered, r.peer.Name)
		case err != nil:
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return Reply{}, fmt.Errorf("%w: no answer of %s: %w", ErrUnknownOutcome, r.peer.Name, err)
		}
		reply := &wire.CallReply{}
		if err := r.verifier.Open(wire.Kind_KIND_CALL_REPLY, m.Data, reply); err != nil {
			r.metrics.refused.WithLabelValues(r.peer.Name, wire.Kind_KIND_CALL_REPLY.String()).Inc()
			return Reply{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
		}
		if reply.From != r.peer.Name || reply.To != r.cfg.Local || reply.Sequence != sequence || reply.Asker != k.asker || reply.Part != part {
			return Reply{}, fmt.Errorf("%w: %w: answer to another call", ErrUnknownOutcome, wire.ErrMessage)
		}
		r.heard()
		if err := k.callStatus(reply); err != nil {
			return Reply{}, err
		}
		if data = append(data, reply.Data...); uint64(len(data)) > reply.TotalBytes || len(data) > r.cfg.MaxCallBytes {
			return Reply{}, fmt.Errorf("%w: answer of more than %d bytes", ErrUnknownOutcome, r.cfg.MaxCallBytes)
		}
		if part+1 < reply.Parts {
			continue
		}
		return readAnswer(data)
	}
}

func (k *link) callStatus(reply *wire.CallReply) error {
	switch reply.Status {
	case wire.CallStatus_CALL_OK:
		return nil
	case wire.CallStatus_CALL_SESSION:
		k.session.Store(reply.Session)
		return errSession
	case wire.CallStatus_CALL_NOT_LEADER:
		k.cancel(&redirect{leader: reply.Leader})
		return fmt.Errorf("%w: the node that was asked does not lead %s any more", ErrNotDelivered, k.r.peer.Name)
	case wire.CallStatus_CALL_REFUSED:
		return fmt.Errorf("%w: refused by %s: %s", ErrNotDelivered, k.r.peer.Name, reply.Detail)
	}
	return fmt.Errorf("%w: %s", ErrUnknownOutcome, reply.Detail)
}

func readAnswer(data []byte) (Reply, error) {
	var a wire.Answer
	if err := proto.Unmarshal(data, &a); err != nil {
		return Reply{}, fmt.Errorf("%w: %w: %w", ErrUnknownOutcome, wire.ErrMessage, err)
	}
	return Reply{Header: fromHeaders(a.Trailers), Body: a.Body, Code: a.Code, Message: a.Message, Details: a.Details}, nil
}

func toHeaders(h map[string][]string) []*wire.Header {
	out := make([]*wire.Header, 0, len(h))
	for name, values := range h {
		out = append(out, &wire.Header{Name: name, Values: values})
	}
	slices.SortFunc(out, func(a, b *wire.Header) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

func fromHeaders(hs []*wire.Header) map[string][]string {
	out := make(map[string][]string, len(hs))
	for _, h := range hs {
		out[h.Name] = append(out[h.Name], h.Values...)
	}
	return out
}

// newAsker names what sends calls: the sequences of a link are its own.
func newAsker() uint64 { return rand.Uint64() | 1 }
