package express

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// raw is a client that sends frames as it pleases.
type raw struct {
	t    testing.TB
	conn net.Conn
	*http2.Framer
	encoded bytes.Buffer
	encoder *hpack.Encoder
}

func (k *kit) raw(settings ...http2.Setting) *raw {
	k.t.Helper()
	conn, err := net.Dial("tcp", k.addr)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(waitLimit)); err != nil {
		k.t.Fatal(err)
	}
	r := &raw{t: k.t, conn: conn, Framer: http2.NewFramer(conn, conn)}
	r.AllowIllegalWrites = true
	r.init()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		k.t.Fatal(err)
	}
	r.check(r.WriteSettings(settings...))
	return r
}

func (r *raw) init() { r.encoder = hpack.NewEncoder(&r.encoded) }

func (r *raw) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *raw) block(more ...string) []byte {
	r.encoded.Reset()
	fields := append([]string{
		":method", "POST", ":scheme", "http", ":path", "/test.Test/Lane", ":authority", "x",
		"content-type", "application/grpc", "te", "trailers",
	}, more...)
	for i := 0; i < len(fields); i += 2 {
		r.check(r.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	return bytes.Clone(r.encoded.Bytes())
}

// headers begins a request.
func (r *raw) headers(stream uint32, more ...string) {
	r.t.Helper()
	r.check(r.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: r.block(more...), EndHeaders: true}))
}

func (r *raw) data(stream uint32, end bool, b []byte) {
	r.t.Helper()
	r.check(r.WriteData(stream, end, b))
}

// message is an encoded BytesValue with gRPC's prefix.
func message(value []byte) []byte {
	var m []byte
	if len(value) > 0 {
		m = append(binary.AppendUvarint([]byte{0x0a}, uint64(len(value))), value...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m))), m...)
}

// next reads frames until one is of interest.
func (r *raw) next(want func(http2.Frame) bool) http2.Frame {
	r.t.Helper()
	for {
		f, err := r.ReadFrame()
		r.check(err)
		if want(f) {
			return f
		}
	}
}

// reset waits until the server resets a stream.
func (r *raw) reset(stream uint32) http2.ErrCode {
	r.t.Helper()
	f := r.next(func(f http2.Frame) bool {
		return f.Header().Type == http2.FrameRSTStream && f.Header().StreamID == stream
	})
	return f.(*http2.RSTStreamFrame).ErrCode
}

// answer reads the payload of an answer, of which it must be the only one, and the frames that it came in.
func (r *raw) answer(stream uint32) (body []byte, frames int) {
	r.t.Helper()
	r.next(func(f http2.Frame) bool {
		if f.Header().StreamID != stream {
			return false
		}
		if d, ok := f.(*http2.DataFrame); ok {
			body = append(body, d.Data()...)
			frames++
		}
		return f.Header().Flags.Has(http2.FlagHeadersEndStream)
	})
	return body, frames
}

// ping waits for the answer, or the end.
func (r *raw) ping() {
	r.t.Helper()
	if r.WritePing(false, [8]byte{1}) != nil {
		return
	}
	for {
		f, err := r.ReadFrame()
		if err != nil || f.Header().Type == http2.FramePing {
			return
		}
	}
}

// goneAway says whether the server says good-bye, in answer to a ping at last.
func (r *raw) goneAway() bool {
	_ = r.WritePing(false, [8]byte{2})
	for {
		f, err := r.ReadFrame()
		if err != nil {
			return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || err != nil
		}
		if f.Header().Type == http2.FrameGoAway {
			return true
		}
		if p, ok := f.(*http2.PingFrame); ok && p.Data == [8]byte{2} {
			return false
		}
	}
}

// TestPieces has a request in the smallest pieces that there are, with padding, priority and continuations.
func TestPieces(t *testing.T) {
	k := start(t, nil, nil)
	r := k.raw()
	block := r.block("ignored", "y")
	r.check(r.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block[:3], PadLength: 7, Priority: http2.PriorityParam{StreamDep: 0, Weight: 3},
	}))
	r.check(r.WriteContinuation(1, false, block[3:10]))
	r.check(r.WriteContinuation(1, true, block[10:]))
	m := message([]byte("in pieces"))
	for i := range m {
		r.check(r.WriteDataPadded(1, false, m[i:i+1], make([]byte, i%3)))
	}
	r.data(1, true, nil)
	if body, _ := r.answer(1); !bytes.Equal(body, m) {
		t.Errorf("got %q", body)
	}
	if k.quick.Load() != 1 {
		t.Error("it did not go over the lane")
	}
}

// TestWindows sends no byte more than the client takes.
func TestWindows(t *testing.T) {
	k := start(t, nil, nil)
	r := k.raw(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	m := message(bytes.Repeat([]byte("w"), 100))
	r.headers(1)
	r.data(1, true, m)
	var got []byte
	for len(got) < len(m) {
		f := r.next(func(f http2.Frame) bool { return f.Header().Type == http2.FrameData })
		d := f.(*http2.DataFrame).Data()
		if len(d) > 10 {
			t.Fatalf("%d bytes in a window of 10", len(d))
		}
		got = append(got, d...)
		if len(got) == 20 { // by the setting, of which streams under way have their part
			r.check(r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 20}))
			continue
		}
		r.check(r.WriteWindowUpdate(1, uint32(len(d))))
	}
	if !bytes.Equal(got, m) {
		t.Error("the answer is another one")
	}
}

// TestSharedWindow: answers of calls take from the connection's window what gRPC's server believes to have. It must not send
// more than the client takes, and nothing may be lost or get out of order.
func TestSharedWindow(t *testing.T) {
	k := start(t, nil, nil)
	r := k.raw(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	const size = 40 << 10
	taken := 0
	big := message(bytes.Repeat([]byte("l"), size))
	r.headers(1)
	r.data(1, false, big[:maxFrameBytes])
	r.data(1, false, big[maxFrameBytes:2*maxFrameBytes])
	r.data(1, true, big[2*maxFrameBytes:])
	body, _ := r.answer(1)
	taken += len(body)
	r.check(r.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: r.grpc(), EndHeaders: true}))
	r.data(3, false, big[:maxFrameBytes])
	r.data(3, false, big[maxFrameBytes:2*maxFrameBytes])
	r.data(3, true, big[2*maxFrameBytes:])
	lane := k.only()
	eventually(t, "the answer of gRPC's server is held back to its end", func() bool {
		lane.mu.Lock()
		defer lane.mu.Unlock()
		return endsStream(lane.held)
	})
	r.headers(5) // it waits its turn
	r.data(5, true, message([]byte("small")))
	granted, got := firstWindow, []byte(nil)
	for ended := false; !ended; {
		f, err := r.ReadFrame()
		r.check(err)
		switch f := f.(type) {
		case *http2.DataFrame:
			if taken += len(f.Data()); taken > granted {
				t.Fatalf("%d bytes, the client takes %d", taken, granted)
			}
			if f.StreamID != 3 {
				t.Fatal("the small answer has come before what was held back")
			}
			got = append(got, f.Data()...)
			if granted == firstWindow { // enough for the small answer, not for the frame that it is behind
				granted += 100
				r.check(r.WriteWindowUpdate(0, 100))
				r.check(r.WritePing(false, [8]byte{3}))
			}
		case *http2.PingFrame:
			granted += len(big)
			r.check(r.WriteWindowUpdate(0, uint32(len(big))))
		case *http2.HeadersFrame:
			ended = f.StreamID == 3 && f.StreamEnded()
		}
	}
	if !bytes.Equal(got, big) {
		t.Error("the answer of gRPC's server is another one")
	}
	r.check(r.WriteWindowUpdate(0, 1000))
	if body, _ := r.answer(5); len(body) == 0 {
		t.Error("nothing for the last call")
	}
	if k.quick.Load() != 2 {
		t.Errorf("%d calls over the lane, want 2", k.quick.Load())
	}
}

// TestDebt: what calls have used of the connection's window is not given to gRPC's server a second time.
func TestDebt(t *testing.T) {
	c := newConn(&memory{in: bytes.NewReader(nil)}, nil, lanesFor(nil))
	defer c.abort()
	c.debt, c.window = 100, firstWindow-100
	for i, want := range []int64{0, 20, 60} {
		if passed, ok := c.widen(60); !ok || passed != want {
			t.Errorf("update %d: %d of 60 bytes passed on, want %d", i, passed, want)
		}
	}
	if c.window != firstWindow-100+180 {
		t.Errorf("window of %d", c.window)
	}
}

// endsStream says whether the last of these frames is the last of its stream.
func endsStream(frames []byte) (ends bool) {
	for len(frames) > 0 {
		ends = parseFrameHeader(frames).flags.Has(http2.FlagHeadersEndStream)
		frames = frames[wholeFrames(frames):]
	}
	return ends
}

// only is the one connection that is open.
func (k *kit) only() *conn {
	k.t.Helper()
	k.lanes.mu.Lock()
	defer k.lanes.mu.Unlock()
	if len(k.lanes.conns) != 1 {
		k.t.Fatalf("%d connections", len(k.lanes.conns))
	}
	for c := range k.lanes.conns {
		return c
	}
	return nil
}

// grpc is the block of a request that goes to gRPC's server.
func (r *raw) grpc() []byte {
	r.encoded.Reset()
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", "/test.Test/Grpc"}, {":authority", "x"},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		r.check(r.encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	return bytes.Clone(r.encoded.Bytes())
}

// TestRefused has more calls than may be under way.
func TestRefused(t *testing.T) {
	k := start(t, func(c *Config) { c.MaxStreams = 2 }, func(*Call) {})
	r := k.raw()
	for _, stream := range []uint32{1, 3, 5} {
		r.headers(stream)
		r.data(stream, true, message(nil))
	}
	if code := r.reset(5); code != http2.ErrCodeRefusedStream {
		t.Errorf("reset with %s", code)
	}
}

// TestWrong has what no client sends. The connection ends, or the call does; the server lives.
func TestWrong(t *testing.T) {
	compressed := message([]byte("x"))
	compressed[0] = 1
	for name, send := range map[string]func(*raw){
		"frame too large": func(r *raw) { _, _ = r.conn.Write([]byte{0x01, 0, 0, 0, 0, 0, 0, 0, 1}) },
		"bad padding": func(r *raw) {
			r.headers(1)
			r.check(r.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{9, 1}))
		},
		"no HPACK": func(r *raw) {
			r.check(r.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, []byte{0xff, 0xff}))
		},
		"block not ended": func(r *raw) {
			r.check(r.WriteRawFrame(http2.FrameHeaders, 0, 1, r.block()))
			r.check(r.WritePing(false, [8]byte{}))
		},
		"stray continuation":  func(r *raw) { r.check(r.WriteContinuation(1, true, r.block())) },
		"endless block":       func(r *raw) { endless(r) },
		"stream again":        func(r *raw) { r.headers(3); r.headers(1) },
		"stream even":         func(r *raw) { r.headers(2) },
		"headers twice":       func(r *raw) { r.headers(1); r.headers(1) },
		"window past the end": func(r *raw) { r.check(r.WriteWindowUpdate(0, maxWindow)) },
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil, nil)
			r := k.raw()
			send(r)
			for {
				f, err := r.ReadFrame()
				if err != nil || f.Header().Type == http2.FrameGoAway {
					break
				}
			}
			if by, err := call(within(t), k.dial(), "Lane", []byte("x")); err != nil || by != "lane" {
				t.Errorf("another client: by %q, %v", by, err)
			}
		})
	}
	for name, body := range map[string][]byte{
		"compressed": compressed, "cut off": message([]byte("x"))[:6], "no message": nil,
		"two messages": append(message([]byte("x")), message([]byte("y"))...),
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, nil, func(*Call) { t.Error("the handler got it") }).raw()
			r.headers(1)
			r.data(1, true, body)
			if body, _ := r.answer(1); len(body) > 0 {
				t.Errorf("answer %q", body)
			}
		})
	}
}

func endless(r *raw) {
	r.check(r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.block()}))
	for range headerBlockBytes/maxFrameBytes + 2 {
		if r.WriteContinuation(1, false, make([]byte, maxFrameBytes)) != nil {
			return
		}
	}
}

// TestClientThatDoesNotRead is not read from either, so that its answers take bounded memory.
func TestClientThatDoesNotRead(t *testing.T) {
	lanes := make(chan *conn, 1<<16)
	k := start(t, nil, func(c *Call) {
		lanes <- c.conn
		c.Fail(errors.New("no"), []string{"pad", string(bytes.Repeat([]byte("p"), 8<<10))})
	})
	r := k.raw()
	r.check(r.conn.SetDeadline(time.Now().Add(2 * time.Second)))
	var m []byte
	for stream := uint32(1); ; stream += 2 {
		if r.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: r.block(), EndHeaders: true}) != nil || r.WriteData(stream, true, message(m)) != nil {
			break
		}
	}
	lane := <-lanes
	lane.mu.Lock()
	defer lane.mu.Unlock()
	if len(lane.out) > unsentBytes+1<<20 {
		t.Errorf("%d bytes wait for the client", len(lane.out))
	}
}
