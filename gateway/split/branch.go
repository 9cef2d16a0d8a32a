package split

import (
	"context"
	"net"
	"sync"
)

// branch is one of the two listeners.
type branch struct {
	addr  net.Addr
	conns chan net.Conn
	ended chan struct{} // closed by the first fail

	mu  sync.Mutex
	err error // why it ended. guarded by mu
}

func newBranch(addr net.Addr) *branch {
	return &branch{addr: addr, conns: make(chan net.Conn), ended: make(chan struct{})}
}

// give waits until the connection is accepted; a branch that has ended closes it.
func (b *branch) give(c net.Conn) {
	select {
	case b.conns <- c:
	case <-b.ended:
		_ = c.Close() // as the kernel does with what waits at a port that closes
	}
}

func (b *branch) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
		close(b.ended)
	}
}

// Accept implements [net.Listener].
func (b *branch) Accept() (net.Conn, error) {
	select {
	case c := <-b.conns:
		return c, nil
	case <-b.ended:
		b.mu.Lock()
		defer b.mu.Unlock()
		return nil, b.err
	}
}

// Close implements [net.Listener]; the port stays open for the other branch.
func (b *branch) Close() error {
	b.fail(net.ErrClosed)
	return nil
}

// Addr implements [net.Listener].
func (b *branch) Addr() net.Addr { return b.addr }

// Dial opens a connection to the gRPC listener within the process. It has no TLS, whatever the port has, and
// so no certificate of a client.
func (s *Splitter) Dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case s.grpc.conns <- &opened{Conn: far}:
		return near, nil
	case <-s.grpc.ended:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
