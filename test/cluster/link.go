package cluster

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// link relays the connections of one datacenter to another's NATS. While cut, bytes that arrive are thrown
// away and the sockets stay open, as in a network that drops packets; a connection that lost bytes is reset
// when the link heals.
type link struct {
	cut atomic.Bool

	mu    sync.Mutex
	conns map[net.Conn]bool // guarded by mu; value: bytes were lost
}

// relay listens on a free port and forwards to target.
func (l *link) relay(t testing.TB, target string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = ln.Close()
		l.reset(false)
	})
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go l.serve(c, target)
		}
	}()
	return ln.Addr().String()
}

func (l *link) serve(a net.Conn, target string) {
	b, err := net.Dial("tcp", target)
	if err != nil {
		_ = a.Close()
		return
	}
	l.mu.Lock()
	if l.conns == nil {
		l.conns = map[net.Conn]bool{}
	}
	l.conns[a], l.conns[b] = false, false
	l.mu.Unlock()
	var done sync.WaitGroup
	done.Go(func() { l.copy(a, b) })
	done.Go(func() { l.copy(b, a) })
	done.Wait()
	l.mu.Lock()
	delete(l.conns, a)
	delete(l.conns, b)
	l.mu.Unlock()
}

func (l *link) copy(dst, src net.Conn) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if l.cut.Load() && n > 0 {
			l.mu.Lock()
			l.conns[src], l.conns[dst] = true, true
			l.mu.Unlock()
			n = 0
		}
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *link) heal() {
	l.cut.Store(false)
	l.reset(true)
}

// reset closes connections; with onlyLossy those that lost bytes.
func (l *link) reset(onlyLossy bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c, lost := range l.conns {
		if lost || !onlyLossy {
			_ = c.Close()
		}
	}
}
