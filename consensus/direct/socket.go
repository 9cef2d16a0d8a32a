package direct

import (
	"cmp"
	"net"
	"sync"
	"syscall"
)

// socket is a TCP connection whose Write does not wait once it is open. TLS on top of it writes from goroutines that
// read, too.
type socket struct {
	net.Conn
	raw     syscall.RawConn
	attempt func(fd uintptr) bool // one write of out; made once, because a closure for each would be an allocation

	mu       sync.Mutex // guards all below
	out      []byte     // of the attempt
	taken    int        // of out, by the kernel
	failed   error      // of the attempt
	rest     []byte     // was written and the kernel has not taken it
	flushing bool       // something of before rest is on its way to the kernel
	open     bool       // before, Write waits, because a handshake has nobody who flushes
	err      error      // the first of any write
}

func newSocket(c *net.TCPConn) (*socket, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &socket{Conn: c, raw: raw}
	s.attempt = func(fd uintptr) bool {
		s.taken, s.failed = writeNow(fd, s.out)
		return true // whatever came of it: true means not to wait until it can be written
	}
	return s, nil
}

// Write takes all of b. An error may be of an earlier write.
func (s *socket) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := 0
	if s.err == nil && len(s.rest) == 0 && !s.flushing {
		s.out = b
		err := s.raw.Write(s.attempt)
		taken, s.err = s.taken, cmp.Or(err, s.failed)
		s.out = nil
	}
	if s.err != nil {
		return 0, s.err
	}
	s.rest = append(s.rest, b[taken:]...)
	if !s.open {
		return len(b), s.flushLocked()
	}
	return len(b), nil
}

// opened ends the handshakes.
func (s *socket) opened() {
	s.mu.Lock()
	s.open = true
	s.mu.Unlock()
}

// behind says whether a write would have to wait for earlier ones.
func (s *socket) behind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flushing || len(s.rest) > 0
}

// flush waits until the kernel has taken everything. One goroutine at a time calls it.
func (s *socket) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flushLocked()
}

// flushLocked gives the lock away while it waits.
func (s *socket) flushLocked() error {
	for s.err == nil && len(s.rest) > 0 {
		out := s.rest
		s.rest, s.flushing = nil, true
		s.mu.Unlock()
		_, err := s.Conn.Write(out)
		s.mu.Lock()
		s.flushing, s.err = false, cmp.Or(s.err, err)
	}
	return s.err
}
