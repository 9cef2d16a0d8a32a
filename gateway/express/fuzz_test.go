package express

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"geogate/test/allocs"
)

// memory is a client whose bytes are all there already, and who reads everything.
type memory struct {
	net.Conn
	in  *bytes.Reader
	out int
}

func (m *memory) Read(p []byte) (int, error)      { return m.in.Read(p) }
func (m *memory) Write(p []byte) (int, error)     { m.out += len(p); return len(p), nil }
func (m *memory) Close() error                    { return nil }
func (m *memory) SetDeadline(time.Time) error     { return nil }
func (m *memory) RemoteAddr() (none net.Addr)     { return none }
func (m *memory) LocalAddr() (none net.Addr)      { return none }
func (m *memory) SetReadDeadline(time.Time) error { return nil }

func lanesFor(handle Handler) *Lanes {
	return New(Config{
		Handlers: map[string]Handler{"/test.Test/Lane": handle}, Ignored: map[string]bool{"ignored": true}, Carried: map[string]bool{"carried": true},
		MaxMessageBytes: 1 << 20, MaxStreams: 100, ConnWindow: window, PingMinTime: time.Second,
	})
}

// FuzzClient has a client send anything behind the preface. What reaches gRPC's server are whole frames, and no frame of a call.
func FuzzClient(f *testing.F) {
	var seed bytes.Buffer
	r := &raw{t: f, Framer: http2.NewFramer(&seed, nil)}
	r.init()
	r.AllowIllegalWrites = true
	r.headers(1)
	r.data(1, true, message([]byte("one")))
	r.headers(3, "other", "x")
	r.data(3, true, message([]byte("gRPC's")))
	f.Add(bytes.Clone(seed.Bytes()))
	r.headers(5, "grpc-timeout", "9S", "carried", "x")
	r.data(5, false, message([]byte("reset"))[:3])
	r.check(r.WriteRSTStream(5, http2.ErrCodeCancel))
	r.check(r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3}))
	r.headers(7)
	r.check(r.WriteDataPadded(7, true, message([]byte("parked")), make([]byte, 4)))
	r.check(r.WriteWindowUpdate(7, 9))
	r.check(r.WriteWindowUpdate(0, 70000))
	r.check(r.WritePing(false, [8]byte{1}))
	f.Add(bytes.Clone(seed.Bytes()))
	f.Fuzz(func(t *testing.T, sent []byte) {
		seen := map[uint32]bool{}
		l := lanesFor(func(c *Call) {
			seen[c.stream] = true
			c.ReplyEncoded(c.Request(), nil)
		})
		c := newConn(&memory{in: bytes.NewReader(append([]byte(http2.ClientPreface), sent...))}, nil, l)
		got, _ := io.ReadAll(c)
		c.abort()
		if !bytes.HasPrefix(got, []byte(http2.ClientPreface)) {
			t.Fatalf("no preface: %q", got)
		}
		for got = got[len(http2.ClientPreface):]; len(got) >= frameHeaderBytes; {
			h := parseFrameHeader(got)
			if h.kind == http2.FrameHeaders && seen[h.stream] {
				t.Fatalf("gRPC's server gets stream %d, which is a call", h.stream)
			}
			got = got[min(len(got), frameHeaderBytes+h.length):]
		}
	})
}

// FuzzServer has gRPC's server write anything, in pieces.
func FuzzServer(f *testing.F) {
	var seed bytes.Buffer
	r := &raw{t: f, Framer: http2.NewFramer(&seed, nil)}
	r.init()
	r.AllowIllegalWrites = true
	r.check(r.WriteSettings())
	r.headers(1)
	r.data(1, true, make([]byte, 1000))
	r.check(r.WriteGoAway(7, http2.ErrCodeNo, []byte("bye")))
	f.Add(seed.Bytes(), uint16(7))
	f.Fuzz(func(t *testing.T, sent []byte, piece uint16) {
		m := &memory{in: bytes.NewReader(nil)}
		c := newConn(m, nil, lanesFor(nil))
		for rest := sent; len(rest) > 0; {
			n := min(int(piece)+1, len(rest))
			if _, err := c.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		c.mu.Lock()
		kept := len(c.piece) + len(c.held) + len(c.out)
		c.mu.Unlock()
		if m.out+kept != len(sent) {
			t.Fatalf("%d bytes were written, %d have left and %d are kept", len(sent), m.out, kept)
		}
	})
}

// TestAllocationsOfACall counts the lane alone: a request from its bytes to those of its answer.
func TestAllocationsOfACall(t *testing.T) {
	var sent bytes.Buffer
	r := &raw{t: t, Framer: http2.NewFramer(&sent, nil)}
	r.init()
	const calls = 1000
	for i := range calls {
		r.headers(uint32(2*i+1), "grpc-timeout", "5000000u", "user-agent", "test")
		r.data(uint32(2*i+1), true, message(make([]byte, 256)))
	}
	stream := append([]byte(http2.ClientPreface), sent.Bytes()...)
	trailer := []string{"geogate-token", "us-east:0:123456", "geogate-policy", "ASYNC"}
	l := lanesFor(func(c *Call) { c.ReplyEncoded(nil, trailer) })
	allocs.AtMost(t, "1000 calls", 2*calls+100, func() {
		c := newConn(&memory{in: bytes.NewReader(stream)}, nil, l)
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Fatal(err)
		}
		c.abort()
	})
}
