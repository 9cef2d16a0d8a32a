package trunk

import (
	"context"

	"geogate/gateway/trunk/trunkpb"
)

// Receiver is told the answer to a submitted call, once and from any goroutine. It must neither block nor use the line. The error,
// without which there is a reply, is as that of [Line.Call]; a reply may have a status.
type Receiver interface {
	Answered(reply *trunkpb.Reply, err error)
}

// Submit is [Line.Call] for who does not wait. Metadata is key, value, key, value, of valid UTF-8. An error means that the
// receiver is not told. giveUp ends a call that nobody waits for any more, and is what became of it; it is nil when the receiver is told,
// or was.
func (l *Line) Submit(method string, metadata []string, request []byte, to Receiver) (giveUp func(cause error) error, err error) {
	s, err := l.session()
	if err != nil {
		return nil, err
	}
	w := &waiting{msg: &trunkpb.Call{Method: method, Request: request, Metadata: metadata}, told: to}
	if err := s.begin(w); err != nil {
		return nil, err
	}
	return func(cause error) error { return s.giveUp(w, cause) }, nil
}

// Status is the error that a reply brings; nil when it has a response.
func Status(r *trunkpb.Reply) error {
	if len(r.Status) == 0 {
		return nil
	}
	return statusError(r.Status)
}

// Call is a call as the called end has it, for a handler that answers later.
type Call struct {
	on   *served
	msg  *trunkpb.Call
	left func() // guarded by served.mu
	over bool   // guarded by served.mu: it is answered, or nobody waits any more
}

// Request is the encoded message. It is the caller's to keep.
func (c *Call) Request() []byte { return c.msg.Request }

// Metadata is the call's, key, value, key, value.
func (c *Call) Metadata() []string { return c.msg.Metadata }

// Wait says what happens when nobody waits for the answer any more: left is called, at most once and from any goroutine, Wait's own
// included.
func (c *Call) Wait(left func()) {
	c.on.mu.Lock()
	if !c.over {
		c.left = left
		left = nil
	}
	c.on.mu.Unlock()
	if left != nil {
		left()
	}
}

// cancel tells the handler that nobody waits. served.mu is held.
func (c *Call) cancel() {
	left := c.left
	c.over, c.left = true, nil
	if left != nil {
		go left()
	}
}

// ReplyEncoded answers with an encoded message; trailer is key, value, key, value.
func (c *Call) ReplyEncoded(message []byte, trailer []string) {
	c.reply(&trunkpb.Reply{Response: message, Trailer: trailer})
}

// Fail answers with an error: its gRPC status.
func (c *Call) Fail(err error, trailer []string) {
	c.reply(&trunkpb.Reply{Status: encodeStatus(err), Trailer: trailer})
}

// Pass leaves the answer to the method's [Handler], on a goroutine of its own.
func (c *Call) Pass() {
	ctx, cancel := context.WithCancel(c.on.ctx)
	c.on.mu.Lock()
	if c.over {
		cancel()
	}
	c.over, c.left = true, nil
	c.on.open[c.msg.Id] = cancel
	c.on.mu.Unlock()
	c.on.crew.run(task{ctx, c.msg})
}

func (c *Call) reply(r *trunkpb.Reply) {
	c.on.mu.Lock()
	c.over, c.left = true, nil
	c.on.mu.Unlock()
	r.Id = c.msg.Id
	c.on.replies.put(r)
	c.on.finish(c.msg.Id)
}
