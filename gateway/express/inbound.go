package express

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/net/http2"
)

// Errors of a connection; gRPC's server closes it.
var (
	errFrameSize  = errors.New("express: frame is too large")
	errProtocol   = errors.New("express: HTTP/2 is violated")
	errWindow     = errors.New("express: window is too large")
	errHeaderSize = errors.New("express: header block is too large")
)

// inbound reads the client's frames, works on those of calls, and gives the others on.
type inbound struct {
	c *conn

	buf    []byte // readBytes long
	r, w   int    // what is read and not used is buf[r:w]
	direct int    // bytes that come next and are gRPC's server's, unchanged
	made   []byte // frames for the server, before direct

	headers headers
	used    int // of the connection's window, by frames of calls: to be given back to the client
}

func (in *inbound) init(c *conn) {
	in.c = c
	in.direct = len(http2.ClientPreface)
	in.headers.init()
}

func (in *inbound) read(p []byte) (int, error) {
	for {
		switch {
		case len(p) == 0:
			return 0, nil
		case len(in.made) > 0:
			n := copy(p, in.made)
			if in.made = in.made[n:]; len(in.made) == 0 {
				in.made = nil
			}
			return n, nil
		case in.direct > 0 && in.r < in.w:
			n := copy(p, in.buf[in.r:min(in.w, in.r+in.direct)])
			in.r += n
			in.direct -= n
			return n, nil
		case in.direct > 0:
			n, err := in.c.Conn.Read(p[:min(len(p), in.direct)])
			in.direct -= n
			return n, err
		}
		if err := in.next(); err != nil {
			return 0, err
		}
	}
}

// fill reads until n bytes are there, which fit.
func (in *inbound) fill(n int) error {
	if in.buf == nil {
		in.buf = make([]byte, readBytes)
	}
	if len(in.buf)-in.r < n {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	for in.w-in.r < n {
		if in.r == in.w {
			in.r, in.w = 0, 0
		}
		got, err := in.c.Conn.Read(in.buf[in.w:])
		in.w += got
		if err != nil && in.w-in.r < n {
			return err
		}
	}
	return nil
}

// next decides about one frame.
func (in *inbound) next() error {
	if err := in.fill(frameHeaderBytes); err != nil {
		return err
	}
	h := parseFrameHeader(in.buf[in.r:])
	if h.length > maxFrameBytes {
		return fmt.Errorf("%w: %d bytes", errFrameSize, h.length)
	}
	if in.headers.open() && h.kind != http2.FrameContinuation {
		return fmt.Errorf("%w: %s within a header block", errProtocol, h.kind)
	}
	if !in.looksAt(h) {
		in.direct = frameHeaderBytes + h.length
		return nil
	}
	if err := in.fill(frameHeaderBytes + h.length); err != nil {
		return err
	}
	frame := in.buf[in.r : in.r+frameHeaderBytes+h.length]
	in.r += len(frame)
	passed, err := in.handle(h, frame[frameHeaderBytes:])
	if passed {
		in.made = append(in.made, frame...)
	}
	return err
}

// looksAt says whether a frame has to be looked at; the others are gRPC's server's.
func (in *inbound) looksAt(h frameHeader) bool {
	switch h.kind {
	case http2.FrameHeaders, http2.FrameContinuation, http2.FrameSettings:
		return true
	case http2.FramePing:
		return !h.flags.Has(http2.FlagPingAck) && h.length == 8
	case http2.FrameWindowUpdate:
		return h.length == 4 && (h.stream == 0 || in.c.call(h.stream) != nil)
	case http2.FrameData, http2.FrameRSTStream:
		return in.c.call(h.stream) != nil
	}
	return false
}

// handle works on a frame. It is passed on to gRPC's server unless it was of a call.
func (in *inbound) handle(h frameHeader, payload []byte) (passed bool, err error) {
	switch h.kind {
	case http2.FrameHeaders, http2.FrameContinuation:
		whole, err := in.headers.add(h, payload)
		if err != nil || !whole {
			return false, err
		}
		return false, in.request()
	case http2.FrameData:
		return false, in.data(h, payload)
	case http2.FrameRSTStream:
		in.c.reset(h.stream)
		return false, nil
	case http2.FramePing:
		return !in.c.ping(payload), nil
	case http2.FrameSettings:
		return true, in.settings(h, payload)
	case http2.FrameWindowUpdate:
		return in.window(h, payload)
	}
	return true, nil
}

func (in *inbound) window(h frameHeader, payload []byte) (passed bool, err error) {
	increment := binary.BigEndian.Uint32(payload) & maxWindow
	if increment == 0 {
		return true, nil // an error, for the server to find
	}
	if h.stream != 0 {
		in.c.widenStream(h.stream, int64(increment))
		return false, nil
	}
	rest, ok := in.c.widen(int64(increment))
	switch {
	case !ok:
		return false, errWindow
	case rest > 0:
		in.made = appendWindowUpdate(in.made, 0, uint32(rest))
	}
	return false, nil
}

func (in *inbound) settings(h frameHeader, payload []byte) error {
	if h.flags.Has(http2.FlagSettingsAck) || len(payload)%6 != 0 {
		return nil // the latter is an error, for the server to find
	}
	for ; len(payload) > 0; payload = payload[6:] {
		value := binary.BigEndian.Uint32(payload[2:])
		switch http2.SettingID(binary.BigEndian.Uint16(payload)) {
		case http2.SettingInitialWindowSize:
			if value > maxWindow {
				return errWindow
			}
			in.c.setInitial(int64(value))
		case http2.SettingMaxHeaderListSize:
			in.c.setHeaderList(value)
		}
	}
	return nil
}

// data takes in a part of a call's request.
func (in *inbound) data(h frameHeader, payload []byte) error {
	body, ok := unpad(h, payload)
	if !ok {
		return fmt.Errorf("%w: padding of DATA", errProtocol)
	}
	in.giveBack(h)
	call := in.c.call(h.stream)
	if call == nil { // it has gone this moment
		return nil
	}
	switch err := call.body.add(body, in.c.cfg.MaxMessageBytes); {
	case err != nil:
		call.fail(err)
	case h.flags.Has(http2.FlagDataEndStream):
		in.ended(call)
	}
	return nil
}

// ended begins to answer a call whose request is there.
func (in *inbound) ended(call *Call) {
	if err := call.body.whole(); err != nil {
		call.fail(err)
		return
	}
	call.handler(call)
}

// giveBack returns the window that a frame has used to the client: of the stream at once, of the connection by and by.
func (in *inbound) giveBack(h frameHeader) {
	if h.length == 0 {
		return
	}
	ends := h.flags.Has(http2.FlagDataEndStream)
	in.used += h.length
	much := in.used >= int(in.c.cfg.ConnWindow)/4
	if ends && !much {
		return
	}
	in.c.mu.Lock()
	if !ends {
		in.c.out = appendWindowUpdate(in.c.out, h.stream, uint32(h.length))
	}
	if much {
		in.c.out = appendWindowUpdate(in.c.out, 0, uint32(in.used))
		in.used = 0
	}
	in.c.flushLocked()
	in.c.mu.Unlock()
}

// request begins a call, or passes the headers on.
func (in *inbound) request() error {
	in.c.waitForRoom()
	block, err := in.headers.decode()
	if err != nil {
		return err
	}
	if call := in.c.call(block.stream); call != nil { // trailers, which nobody sends
		if !block.ends {
			return fmt.Errorf("%w: second HEADERS of stream %d", errProtocol, block.stream)
		}
		in.ended(call)
		return nil
	}
	taken, err := in.c.begin(block)
	if taken || err != nil {
		return err
	}
	in.made = in.headers.encode(in.made, block)
	return nil
}
