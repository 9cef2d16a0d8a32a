package express

import (
	"net"
	"sync"

	"google.golang.org/grpc/credentials"
)

// Lanes are the lanes of one server.
type Lanes struct {
	cfg Config

	mu    sync.Mutex
	conns map[*conn]struct{} // guarded by mu; nil after Abort
}

// New checks nothing: the fields of the configuration are the server's own, which checks them.
func New(c Config) *Lanes { return &Lanes{cfg: c, conns: map[*conn]struct{}{}} }

// Abort ends every connection and its calls, and lets no new one begin. Without it, a connection that gRPC's server closes
// at the end of a graceful stop stays open until its calls are answered.
func (l *Lanes) Abort() {
	l.mu.Lock()
	conns := l.conns
	l.conns = nil
	l.mu.Unlock()
	for c := range conns {
		_ = c.abort() // the client finds out
	}
}

func (l *Lanes) add(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		return false
	}
	l.conns[c] = struct{}{}
	return true
}

func (l *Lanes) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// Credentials are the server's, with a lane under each connection whose handshake they have made.
func (l *Lanes) Credentials(c credentials.TransportCredentials) credentials.TransportCredentials {
	return laned{TransportCredentials: c, lanes: l}
}

type laned struct {
	credentials.TransportCredentials
	lanes *Lanes
}

func (c laned) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	lane := newConn(secure, info, c.lanes)
	if !c.lanes.add(lane) {
		_ = secure.Close() // the server is told by the error
		return nil, nil, net.ErrClosed
	}
	return lane, info, nil
}

func (c laned) Clone() credentials.TransportCredentials {
	return laned{TransportCredentials: c.TransportCredentials.Clone(), lanes: c.lanes}
}
