package express

import (
	"context"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Call is one unary call, from its last byte to its answer.
type Call struct {
	conn     *conn
	stream   uint32
	handler  Handler
	metadata []string
	body     body // of the goroutine that reads

	// Guarded by conn.mu, until the call has left conn.calls.
	deadline time.Time
	left     func() // nil before Wait
	window   int64  // of the stream: bytes that the client takes now
	rest     []byte // of an answer that did not fit
	trailer  []byte // a block, to be sent behind rest
}

// Request is the encoded message. It is the caller's to keep.
func (c *Call) Request() []byte { return c.body.message }

// Metadata is what the request has of [Config.Carried], key, value, key, value.
func (c *Call) Metadata() []string { return c.metadata }

// Peer is the client.
func (c *Call) Peer() *peer.Peer {
	return &peer.Peer{Addr: c.conn.RemoteAddr(), LocalAddr: c.conn.LocalAddr(), AuthInfo: c.conn.info}
}

// Wait says what happens when nobody waits for the answer any more, because the client gave up, its time is over or it is gone:
// left is called, at most once and from any goroutine, Wait's own included.
func (c *Call) Wait(left func()) {
	lane := c.conn
	lane.mu.Lock()
	if lane.calls[c.stream] == c {
		c.left = left
		left = nil
	}
	lane.mu.Unlock()
	if left != nil {
		left()
	}
}

// Context lives until the call is answered, its client gives up, or its deadline is over. It takes the place of Wait, and
// done must be called.
func (c *Call) Context(parent context.Context) (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancel(parent)
	c.conn.mu.Lock()
	deadline := c.deadline
	c.conn.mu.Unlock()
	if !deadline.IsZero() {
		var stop func()
		ctx, stop = context.WithDeadline(ctx, deadline)
		outer := cancel
		cancel = func() { stop(); outer() }
	}
	c.Wait(cancel)
	return ctx, cancel
}

// Reply answers with a message; trailer is key, value, key, value, without keys of gRPC's own and without binary ones.
func (c *Call) Reply(message proto.Message, trailer []string) {
	size := proto.Size(message)
	c.answer(func(to []byte) []byte {
		to, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(to, message)
		if err != nil {
			panic("express: a response that was sized can't be encoded: " + err.Error()) // texts of ours, which are valid
		}
		return to
	}, size, trailer)
}

// ReplyEncoded is Reply with a message that is encoded already.
func (c *Call) ReplyEncoded(message []byte, trailer []string) {
	c.answer(func(to []byte) []byte { return append(to, message...) }, len(message), trailer)
}

// Fail answers with an error: its gRPC status.
func (c *Call) Fail(err error, trailer []string) {
	block := appendStatus(append([]byte(nil), headerStart...), status.Convert(err))
	block = appendFields(block, trailer)
	lane := c.conn
	lane.mu.Lock()
	defer lane.mu.Unlock()
	if !c.endLocked() {
		return
	}
	if limit := lane.headerList; limit > 0 && len(block) > int(limit) {
		lane.out = appendReset(lane.out, c.stream, http2.ErrCodeInternal)
	} else {
		lane.out = appendBlock(lane.out, c.stream, block, true)
	}
	lane.flushLocked()
}

// fail answers a call whose request is not whole, or wrong.
func (c *Call) fail(err error) {
	c.Fail(err, nil)
	lane := c.conn
	lane.mu.Lock()
	defer lane.mu.Unlock()
	lane.out = appendReset(lane.out, c.stream, http2.ErrCodeNo) // it need not send the rest
	lane.flushLocked()
}

// answer sends a message of so many bytes.
func (c *Call) answer(appendTo func([]byte) []byte, size int, trailer []string) {
	lane := c.conn
	lane.mu.Lock()
	defer lane.mu.Unlock()
	if lane.calls[c.stream] != c {
		return
	}
	lane.out = appendBlock(lane.out, c.stream, headerStart, false)
	need := prefixBytes + size
	if need <= maxFrameBytes && int64(need) <= min(lane.window, c.window) && len(lane.held)+len(lane.parked) == 0 {
		lane.out = appendFrameHeader(lane.out, need, http2.FrameData, 0, c.stream)
		lane.out = appendTo(appendPrefix(lane.out, size))
		lane.window -= int64(need)
		lane.debt += int64(need)
		lane.out = appendTrailer(lane.out, c.stream, trailer)
		c.endLocked()
		lane.flushLocked()
		return
	}
	c.rest = appendTo(appendPrefix(make([]byte, 0, need), size))
	c.trailer = appendFields(append([]byte(nil), statusOK...), trailer)
	if len(lane.held) > 0 || !c.send() {
		lane.parked = append(lane.parked, c)
	}
	lane.flushLocked()
}

// send sends as much of rest as the client takes, and says whether that was all. conn.mu is held.
func (c *Call) send() (all bool) {
	lane := c.conn
	for len(c.rest) > 0 {
		n := min(int64(len(c.rest)), lane.window, c.window, maxFrameBytes)
		if n <= 0 {
			return false
		}
		lane.out = appendFrameHeader(lane.out, int(n), http2.FrameData, 0, c.stream)
		lane.out = append(lane.out, c.rest[:n]...)
		c.rest = c.rest[n:]
		c.window -= n
		lane.window -= n
		lane.debt += n
		lane.spoke = true
	}
	lane.out = appendBlock(lane.out, c.stream, c.trailer, true)
	c.endLocked()
	return true
}

// endLocked takes an answered call out; false when nobody waited for the answer any more.
func (c *Call) endLocked() bool {
	lane := c.conn
	if lane.calls[c.stream] != c {
		return false
	}
	delete(lane.calls, c.stream)
	lane.spoke = true
	return true
}

// leave tells the handler that nobody waits. The call is not in conn.calls any more, and conn.mu is not held.
func (c *Call) leave() {
	c.conn.mu.Lock()
	left := c.left
	c.left = nil
	c.conn.mu.Unlock()
	if left != nil {
		left()
	}
}
