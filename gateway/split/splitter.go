package split

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// preface is how every HTTP/2 connection begins (RFC 9113, section 3.4), as far as no request of
	// HTTP/1.1 begins with it.
	preface = "PRI "

	defaultFirstBytes = 10 * time.Second
	acceptPauseMin    = 5 * time.Millisecond
	acceptPauseMax    = time.Second
	lingerTime        = 500 * time.Millisecond // for which a refused client may go on sending
	lingerBytes       = 64 << 10               // and how much
)

// Config is what a splitter needs.
type Config struct {
	Listener net.Listener // of the port; closed by Close
	TLS      *tls.Config  // nil means plain text

	// FirstBytes is how long a new connection may take for the TLS handshake and its first bytes, 10 s when
	// zero. A connection that says nothing is closed then.
	FirstBytes time.Duration

	// Refused is told of TLS handshakes that failed, from any goroutine; nil: nobody is.
	Refused func(from net.Addr, err error)
}

// Splitter accepts the connections of a port and hands each to one of two listeners.
type Splitter struct {
	base       net.Listener
	tls        *tls.Config
	firstBytes time.Duration
	refused    func(from net.Addr, err error)
	grpc, http *branch
	ctx        context.Context // ends with Close: handshakes in progress are given up
	cancel     context.CancelFunc
}

// New makes a splitter; nothing is accepted before Run.
func New(c Config) *Splitter {
	s := &Splitter{
		base: c.Listener, firstBytes: cmp.Or(c.FirstBytes, defaultFirstBytes), refused: c.Refused,
		grpc: newBranch(c.Listener.Addr()), http: newBranch(c.Listener.Addr()),
	}
	if c.TLS != nil {
		s.tls = c.TLS.Clone()
		// The server's order decides: who can speak HTTP/1.1 gets it, which leaves h2 to gRPC's clients.
		s.tls.NextProtos = []string{"http/1.1", "h2"}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// GRPC yields the connections that speak HTTP/2. The server that accepts them needs [Splitter.Credentials].
func (s *Splitter) GRPC() net.Listener { return s.grpc }

// HTTP yields all other connections, decrypted.
func (s *Splitter) HTTP() net.Listener { return s.http }

// Run accepts until the port is closed or fails, and returns when no connection is being looked at any more.
// It returns nil after Close.
func (s *Splitter) Run() error {
	var group sync.WaitGroup
	defer group.Wait()
	defer s.cancel()
	pause := time.Duration(0)
	for {
		conn, err := s.base.Accept()
		switch {
		case err == nil:
			pause = 0
			group.Go(func() { s.direct(conn) })
		case s.ctx.Err() != nil:
			return nil
		case temporary(err):
			// Out of file descriptors, most likely: those that are open go on, new ones wait.
			pause = min(max(2*pause, acceptPauseMin), acceptPauseMax)
			if !s.sleep(pause) {
				return nil
			}
		default:
			s.grpc.fail(err)
			s.http.fail(err)
			return err
		}
	}
}

// temporary is what net/http and grpc go by, too.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

func (s *Splitter) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// Close ends Run and closes the port. Connections that were handed over live on.
func (s *Splitter) Close() error {
	s.cancel()
	s.grpc.fail(net.ErrClosed)
	s.http.fail(net.ErrClosed)
	return s.base.Close()
}

// direct looks at a new connection and hands it over, or closes it.
func (s *Splitter) direct(raw net.Conn) {
	conn, isHTTP2, err := s.look(raw)
	if err != nil {
		_ = raw.Close() // it has said nothing that could be answered
		return
	}
	to := s.http
	if isHTTP2 {
		to = s.grpc
	}
	to.give(conn)
}

func (s *Splitter) look(raw net.Conn) (conn net.Conn, isHTTP2 bool, err error) {
	// A deadline and not only the context: the read of the first bytes knows nothing of contexts.
	if err := raw.SetDeadline(time.Now().Add(s.firstBytes)); err != nil {
		return nil, false, err
	}
	stop := context.AfterFunc(s.ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c := &opened{Conn: raw}
	if s.tls != nil {
		secure := tls.Server(raw, s.tls)
		if err := secure.HandshakeContext(s.ctx); err != nil {
			s.refuse(raw, err)
			return nil, false, err
		}
		c.Conn, c.secure = secure, secure
	}
	head := make([]byte, len(preface))
	if _, err := io.ReadFull(c.Conn, head); err != nil {
		return nil, false, err
	}
	c.head = head
	if !stop() {
		return nil, false, s.ctx.Err()
	}
	return c, string(head) == preface, raw.SetDeadline(time.Time{})
}

// refuse lets a client read why its handshake failed, such as "certificate required". A client of TLS 1.3 has sent its
// request by then, and closing with that unread would reset the connection, and take the alert with it.
func (s *Splitter) refuse(raw net.Conn, err error) {
	if s.refused != nil && s.ctx.Err() == nil && !errors.Is(err, io.EOF) {
		s.refused(raw.RemoteAddr(), err)
	}
	half, ok := raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || raw.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, raw, lingerBytes) // the connection is closed whatever comes of it
}

// opened is a connection whose first bytes were read. Only its reader touches head.
type opened struct {
	net.Conn
	head   []byte
	secure *tls.Conn // nil without TLS
}

func (c *opened) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
