package replication

import (
	"net"
	"sync/atomic"
)

// socket is the TCP connection of a link. It counts what arrives: a large message that takes long on a slow
// link is no silence, though nobody sees anything of it before its end.
type socket struct {
	net.Conn
	arrived *atomic.Int64
}

func (s *socket) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.arrived.Add(int64(n))
	return n, err
}

// dialer makes the socket of a link and keeps hold of it.
type dialer struct {
	connect func(network, address string) (net.Conn, error)
	arrived atomic.Int64
	open    atomic.Pointer[socket]
}

// Dial is called by the NATS client.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	c, err := d.connect(network, address)
	if err != nil {
		return nil, err
	}
	s := &socket{Conn: c, arrived: &d.arrived}
	d.open.Store(s)
	return s, nil
}

// hangUp closes the socket and throws away what is still to be sent. The NATS client's own Close would send it
// first, which on a dead connection takes until its deadline; and a handshake that arrives when the next
// connection is in use would end the pull on that one.
func (d *dialer) hangUp() {
	if s := d.open.Load(); s != nil {
		if tcp, ok := s.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // it may be closed already
		}
		_ = s.Close() // nothing on it counts any more
	}
}
