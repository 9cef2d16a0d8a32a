package replication

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"geogate/replication/wire"
)

// callees takes the calls of one peer while this node leads. It belongs to the goroutine of the subscription; only
// slots is shared.
type callees struct {
	slots chan struct{} // one for each call being answered
	seen  map[uint64]*sequences
	order []uint64 // askers, newest last
	part  partial
}

// partial is a request of which more parts must come.
type partial struct {
	asker, sequence uint64
	next            uint32
	data            []byte
}

const (
	// pastAskers bounds how many links of a peer are remembered, so that no call of theirs is answered twice.
	pastAskers = 64
	// callWindow is how far a call may come behind the newest one of its link.
	callWindow = 4096
)

// sequences are the calls of one link that were begun.
type sequences struct {
	highest uint64
	begun   map[uint64]bool
}

// first says whether a call was not begun before, and takes note of it.
func (s *sequences) first(n uint64) bool {
	if n+callWindow <= s.highest || s.begun[n] {
		return false
	}
	s.begun[n] = true
	if n > s.highest {
		s.highest = n
		if len(s.begun) > 2*callWindow {
			for old := range s.begun {
				if old+callWindow <= n {
					delete(s.begun, old)
				}
			}
		}
	}
	return true
}

func newCallees(most int) *callees {
	return &callees{slots: make(chan struct{}, most), seen: map[uint64]*sequences{}}
}

// of are the sequences of an asker.
func (c *callees) of(asker uint64) *sequences {
	s := c.seen[asker]
	if s == nil {
		s = &sequences{begun: map[uint64]bool{}}
		c.seen[asker] = s
		if c.order = append(c.order, asker); len(c.order) > pastAskers {
			delete(c.seen, c.order[0])
			c.order = c.order[1:]
		}
	}
	return s
}

// onCall takes a part of a call off the wire. One that is answered by another node, or refused, was not begun.
func (e *Engine) onCall(m *nats.Msg) {
	req := &wire.CallRequest{}
	peer, ok := e.verified(m, wire.Kind_KIND_CALL_REQUEST, req)
	if !ok || req.From != peer || req.To != e.cfg.Local {
		return
	}
	refuse := func(status wire.CallStatus, format string, a ...any) {
		if req.Part+1 >= req.Parts { // only the last part has a way back
			e.replyCall(m, req, &wire.CallReply{Status: status, Detail: fmt.Sprintf(format, a...), Leader: e.leader(), Session: e.session()})
		}
	}
	e.handing.RLock()
	defer e.handing.RUnlock()
	l := e.current.Load()
	switch {
	case l == nil && e.embedded == nil: // the leader hears it too
	case l == nil:
		refuse(wire.CallStatus_CALL_NOT_LEADER, "this node does not lead")
	case req.Session != l.session:
		refuse(wire.CallStatus_CALL_SESSION, "another session")
	default:
		l.takeCall(l.peers[peer], m, req, refuse)
	}
}

func (e *Engine) session() uint64 {
	if l := e.current.Load(); l != nil {
		return l.session
	}
	return 0
}

// takeCall puts the parts together, and has the whole answered.
func (l *lead) takeCall(p *peer, m *nats.Msg, req *wire.CallRequest, refuse func(wire.CallStatus, string, ...any)) {
	c := p.callees
	if req.Part == 0 {
		c.part = partial{asker: req.Asker, sequence: req.Sequence}
	}
	switch at := &c.part; {
	case at.asker != req.Asker || at.sequence != req.Sequence || at.next != req.Part:
		refuse(wire.CallStatus_CALL_REFUSED, "a part of it was lost")
		return
	case req.TotalBytes > uint64(l.cfg.MaxCallBytes) || len(at.data)+len(req.Data) > l.cfg.MaxCallBytes:
		*at = partial{}
		refuse(wire.CallStatus_CALL_REFUSED, "it has %d bytes, %s takes %d", req.TotalBytes, l.cfg.Local, l.cfg.MaxCallBytes)
		return
	}
	c.part.data = append(c.part.data, req.Data...)
	c.part.next++
	if req.Part+1 < req.Parts {
		return
	}
	body := c.part.data
	c.part = partial{}
	var call wire.Call
	if err := proto.Unmarshal(body, &call); err != nil || uint64(len(body)) != req.TotalBytes {
		refuse(wire.CallStatus_CALL_REFUSED, "it can't be read: %v", err)
		return
	}
	if l.cfg.Calls == nil && !strings.HasPrefix(call.Method, internalMethods) {
		refuse(wire.CallStatus_CALL_REFUSED, "%s answers no calls of clients", l.cfg.Local)
		return
	}
	select {
	case c.slots <- struct{}{}:
	default:
		refuse(wire.CallStatus_CALL_REFUSED, "%d calls of %s are being answered, as many as may be", cap(c.slots), p.name)
		return
	}
	if !c.of(req.Asker).first(req.Sequence) {
		<-c.slots
		l.metrics.callsServed.WithLabelValues(p.name, "repeated").Inc()
		return // its answer has been sent; nobody who is honest asks twice
	}
	l.serving.Go(func() {
		defer func() { <-c.slots }()
		l.serveCall(p, m, req, &call)
	})
}

// serveCall answers a call.
func (l *lead) serveCall(p *peer, m *nats.Msg, req *wire.CallRequest, call *wire.Call) {
	ctx, cancel := context.WithTimeout(l.callCtx, min(time.Duration(max(req.TimeoutNanos, 0)), l.cfg.CallTimeout))
	defer cancel()
	asked := Request{Method: call.Method, Header: fromHeaders(call.Headers), Body: call.Body}
	var r Reply
	if strings.HasPrefix(asked.Method, internalMethods) {
		r = l.serveInternal(ctx, asked)
	} else {
		r = l.cfg.Calls.Serve(ctx, p.name, asked)
	}
	answer := &wire.Answer{Trailers: toHeaders(r.Header), Body: r.Body, Code: r.Code, Message: r.Message, Details: r.Details}
	body, err := proto.Marshal(answer)
	if err == nil && len(body) > l.cfg.MaxCallBytes {
		err = fmt.Errorf("the answer has %d bytes, one between datacenters may have %d: ask for less at a time, or ask the home itself", len(body), l.cfg.MaxCallBytes)
	}
	if err != nil {
		l.metrics.callsServed.WithLabelValues(p.name, "lost").Inc()
		l.replyCall(m, req, &wire.CallReply{Status: wire.CallStatus_CALL_LOST, Detail: err.Error()})
		return
	}
	l.metrics.callsServed.WithLabelValues(p.name, "answered").Inc()
	parts := slices.Collect(slices.Chunk(body, l.cfg.PartBytes))
	if len(parts) == 0 {
		parts = [][]byte{nil}
	}
	for i, part := range parts {
		l.replyCall(m, req, &wire.CallReply{
			Status: wire.CallStatus_CALL_OK, Part: uint32(i), Parts: uint32(len(parts)), TotalBytes: uint64(len(body)), Data: part,
		})
	}
}

func (e *Engine) replyCall(m *nats.Msg, req *wire.CallRequest, reply *wire.CallReply) {
	if m.Reply == "" {
		return
	}
	reply.From, reply.To, reply.Sequence, reply.Asker = e.cfg.Local, req.From, req.Sequence, req.Asker
	e.send(m, wire.Kind_KIND_CALL_REPLY, reply)
}
