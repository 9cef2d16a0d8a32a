package express

import (
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/credentials"
)

// conn is a client's connection as gRPC's server has it: what the server reads and writes are its own frames.
type conn struct {
	net.Conn
	lanes *Lanes
	cfg   *Config
	info  credentials.AuthInfo
	in    inbound // of the goroutine that reads

	writing sync.Mutex // held for a write to the client; taken before mu
	spare   []byte     // guarded by writing: what out was

	mu       sync.Mutex // guards all below
	calls    map[uint32]*Call
	highest  uint32 // stream of the newest call
	last     uint32 // stream of the newest one that the server will take, once it drains
	draining bool
	closing  bool // the server has closed it, and calls are under way
	closed   bool
	err      error // of a write

	out      []byte // whole frames for the client
	flushing bool   // a goroutine is about to write out
	room     chan struct{}
	windows
	pings
	sweep *time.Timer // nil while no call is under way
}

// pings tells the pings that gRPC's server must not count, because it doesn't see what they are for.
type pings struct {
	spoke    bool // something of an answer was sent since the last ping
	strikes  int  // doubtful pings since the last one behind an answer
	lastPing time.Time
}

// maxStrikes is how many doubtful pings are forgiven, as in gRPC's server.
const maxStrikes = 2

func newConn(c net.Conn, info credentials.AuthInfo, l *Lanes) *conn {
	lane := &conn{Conn: c, lanes: l, cfg: &l.cfg, info: info, calls: map[uint32]*Call{}, windows: newWindows()}
	lane.in.init(lane)
	return lane
}

// Read gives gRPC's server the next bytes that are its own, and works on the others meanwhile.
func (c *conn) Read(p []byte) (int, error) { return c.in.read(p) }

// Write takes frames of gRPC's server, whole or in pieces.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.take(p)
	c.mu.Unlock()
	if err := c.flush(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// flush writes what there is for the client, and closes once nothing is left to be done.
func (c *conn) flush() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		b, err := c.unsent()
		if len(b) == 0 || err != nil {
			return err
		}
		_, err = c.Conn.Write(b)
		if c.spare = b; cap(b) > keptBytes {
			c.spare = nil
		}
		if err != nil {
			c.fail(err)
		}
	}
}

// unsent takes what there is for the client.
func (c *conn) unsent() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
	b := c.out
	if len(b) > 0 {
		c.out = c.spare[:0]
		return b, nil
	}
	if cap(b) > keptBytes {
		c.out = nil
	}
	if c.closing && c.idleLocked() && !c.closed {
		go func() { _ = c.abort() }() // the reader finds out
	}
	return nil, nil
}

// fail keeps the error of a write; the connection is of no use any more.
func (c *conn) fail(err error) {
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	_ = c.abort() // the reader finds out
}

// flushLocked sees to it that out is written soon, with what others are about to add.
func (c *conn) flushLocked() {
	if c.flushing || c.closed {
		return
	}
	c.flushing = true
	go func() {
		runtime.Gosched() // answers of the same moment join this write
		c.mu.Lock()
		c.flushing = false
		c.mu.Unlock()
		_ = c.flush() // the reader finds out
	}()
}

// waitForRoom waits while the client does not read what it is sent.
func (c *conn) waitForRoom() {
	c.mu.Lock()
	for len(c.out) > unsentBytes && c.err == nil && !c.closed {
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.flushLocked()
		c.mu.Unlock()
		<-room
		c.mu.Lock()
	}
	c.mu.Unlock()
}

// Close is called by gRPC's server. At the end of a graceful stop it has no streams any more, but calls may be under way
// here: the last of them closes.
func (c *conn) Close() error {
	c.mu.Lock()
	if c.draining && !c.idleLocked() && !c.closed {
		c.closing = true
		c.mu.Unlock()
		return nil
	}
	c.mu.Unlock()
	return c.abort()
}

// idleLocked says that nothing is under way and nothing unsent.
func (c *conn) idleLocked() bool { return len(c.calls) == 0 && len(c.out) == 0 }

// abort ends the connection and its calls.
func (c *conn) abort() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	left := make([]*Call, 0, len(c.calls))
	for id, call := range c.calls {
		delete(c.calls, id)
		left = append(left, call)
	}
	if c.sweep != nil {
		c.sweep.Stop()
		c.sweep = nil
	}
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
	c.mu.Unlock()
	c.lanes.remove(c)
	err := c.Conn.Close()
	for _, call := range left {
		call.leave()
	}
	return err
}

// ping answers a client's ping unless gRPC's server has to judge it. That server counts pings without a stream of its own, and those
// that come too often, as abuse; it forgives two, and all when it has sent something since. Here the same is done for
// calls: what is left to that server counts for ever, as it does not see answers.
func (c *conn) ping(data []byte) (answered bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	since := now.Sub(c.lastPing)
	c.lastPing = now
	switch {
	case c.spoke:
		c.strikes = 0
	case len(c.calls) > 0 && since >= c.cfg.PingMinTime: // to keep the connection alive
	case c.strikes < maxStrikes:
		c.strikes++
	default:
		return false
	}
	c.spoke = false
	c.out = appendFrameHeader(c.out, len(data), http2.FramePing, http2.FlagPingAck, 0)
	c.out = append(c.out, data...)
	c.flushLocked()
	return true
}
