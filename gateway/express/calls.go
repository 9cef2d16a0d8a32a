package express

import (
	"fmt"
	"time"

	"golang.org/x/net/http2"
)

// call is the call of a stream; nil when the stream is gRPC's server's, or over.
func (c *conn) call(stream uint32) *Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[stream]
}

// begin takes a request as a call, unless it is gRPC's server's.
func (c *conn) begin(b *block) (taken bool, err error) {
	r, plain := b.plain(c.cfg)
	handler := c.cfg.Handlers[r.path]
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case b.stream <= c.highest: // the server has not seen that stream, and would not notice
		return false, fmt.Errorf("%w: stream %d after stream %d", errProtocol, b.stream, c.highest)
	case !plain, handler == nil, c.cfg.Open != nil && !c.cfg.Open():
		return false, nil
	case b.stream%2 == 0, c.draining && b.stream > c.last, c.closed:
		return false, nil // wrong, or too late: the server sees to it
	case uint32(len(c.calls)) >= c.cfg.MaxStreams:
		c.out = appendReset(c.out, b.stream, http2.ErrCodeRefusedStream)
		c.flushLocked()
		return true, nil
	}
	call := &Call{conn: c, stream: b.stream, handler: handler, metadata: r.carried, window: c.initial}
	c.highest = b.stream
	c.calls[b.stream] = call
	if r.timed {
		call.deadline = time.Now().Add(r.timeout)
	}
	if c.sweep == nil {
		c.sweep = time.AfterFunc(sweepInterval, c.sweepCalls)
	}
	return true, nil
}

// reset ends a call whose client gave it up.
func (c *conn) reset(stream uint32) {
	c.mu.Lock()
	call := c.calls[stream]
	delete(c.calls, stream)
	c.resume()      // what it waited with
	c.flushLocked() // closes, if that was the last
	c.mu.Unlock()
	if call != nil {
		call.leave()
	}
}

// sweepCalls ends calls whose deadline is over, as gRPC's server does.
func (c *conn) sweepCalls() {
	now := time.Now()
	var over []*Call
	c.mu.Lock()
	for id, call := range c.calls {
		if !call.deadline.IsZero() && now.After(call.deadline) {
			delete(c.calls, id)
			c.out = appendReset(c.out, id, http2.ErrCodeCancel)
			over = append(over, call)
		}
	}
	if len(over) > 0 {
		c.flushLocked()
	}
	c.sweep = nil
	if len(c.calls) > 0 && !c.closed {
		c.sweep = time.AfterFunc(sweepInterval, c.sweepCalls)
	}
	c.mu.Unlock()
	for _, call := range over {
		call.leave()
	}
}
