package express

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

// windows is how much may be sent to the client (RFC 9113, section 5.2). gRPC's server and the calls share the
// connection's window, of which the server believes to have all: what calls have used is kept back from
// the client's updates. Until these come, the server may send more than there is; then its frames are held here.
type windows struct {
	window  int64 // bytes that the client takes now, of all streams together; less than 0 never
	debt    int64 // of window, bytes that calls have used and gRPC's server does not know of
	initial int64 // of each stream, as the client's settings have it

	headerList uint32 // bytes of a header list that the client takes; 0 means that it did not say

	held   []byte  // frames of gRPC's server behind one that does not fit
	parked []*Call // with an answer that does not fit
	piece  []byte  // of a frame of gRPC's server, or of a header block
}

func newWindows() windows { return windows{window: firstWindow, initial: firstWindow} }

// take sorts the frames of gRPC's server. conn.mu is held.
func (c *conn) take(p []byte) {
	if len(c.piece) > 0 {
		p = append(c.piece, p...)
	}
	for {
		n := wholeFrames(p)
		if n == 0 {
			break
		}
		c.frame(p[:n:n])
		p = p[n:]
	}
	if len(p) == 0 {
		c.piece = nil
		return
	}
	c.piece = append([]byte(nil), p...)
}

// wholeFrames is the size of the first frame in b, with those that continue its header block; 0 when more is to come.
func wholeFrames(b []byte) int {
	size := 0
	for len(b)-size >= frameHeaderBytes {
		h := parseFrameHeader(b[size:])
		if size += frameHeaderBytes + h.length; size > len(b) {
			return 0
		}
		if h.kind != http2.FrameHeaders && h.kind != http2.FrameContinuation || h.flags.Has(http2.FlagHeadersEndHeaders) {
			return size
		}
	}
	return 0
}

// frame passes on one frame of gRPC's server.
func (c *conn) frame(f []byte) {
	h := parseFrameHeader(f)
	switch h.kind {
	case http2.FrameGoAway:
		if h.length >= 8 {
			c.goAway(f)
			return
		}
	case http2.FrameData, http2.FrameHeaders, http2.FrameRSTStream:
		if len(c.held) > 0 || h.kind == http2.FrameData && int64(h.length) > c.window {
			c.held = append(c.held, f...) // in the order in which they came
			return
		}
		if h.kind == http2.FrameData {
			c.window -= int64(h.length)
		}
	}
	c.out = append(c.out, f...)
}

// goAway tells a client of the newest stream that is served, which may be a call's: what is above, it sends again elsewhere.
func (c *conn) goAway(f []byte) {
	at := len(c.out) + frameHeaderBytes
	c.out = append(c.out, f...)
	last := binary.BigEndian.Uint32(c.out[at:]) & maxStreamID
	if last == maxStreamID {
		return // only a warning: the true one follows
	}
	c.draining, c.last = true, max(last, c.highest)
	binary.BigEndian.PutUint32(c.out[at:], c.last)
}

// widen takes in the client's update of the connection's window, and returns what of it is gRPC's server's.
func (c *conn) widen(increment int64) (passed int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.window += increment; c.window > maxWindow {
		return 0, false
	}
	kept := min(increment, c.debt)
	c.debt -= kept
	c.resume()
	return increment - kept, true
}

// widenStream takes in the client's update of a call's window.
func (c *conn) widenStream(stream uint32, increment int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.calls[stream]; call != nil {
		call.window += increment
		c.resume()
	}
}

// setInitial takes in the client's setting of the windows that streams begin with.
func (c *conn) setInitial(size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delta := size - c.initial
	c.initial = size
	for _, call := range c.calls {
		call.window += delta
	}
	c.resume()
}

// setHeaderList takes in the client's setting of that.
func (c *conn) setHeaderList(bytes uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headerList = bytes
}

// resume sends what fits now. conn.mu is held.
func (c *conn) resume() {
	for len(c.held) > 0 {
		n := wholeFrames(c.held)
		h := parseFrameHeader(c.held)
		if h.kind == http2.FrameData {
			if int64(h.length) > c.window {
				break
			}
			c.window -= int64(h.length)
		}
		c.out = append(c.out, c.held[:n]...)
		c.held = c.held[n:]
	}
	if len(c.held) == 0 {
		c.held = nil
	}
	waiting := c.parked[:0]
	for _, call := range c.parked {
		if c.calls[call.stream] == call && (len(c.held) > 0 || !call.send()) {
			waiting = append(waiting, call)
		}
	}
	clear(c.parked[len(waiting):])
	c.parked = waiting
	if len(c.out) > 0 {
		c.flushLocked()
	}
}
