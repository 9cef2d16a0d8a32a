package main

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// relay is the WAN before one address: it forwards connections, counts the bytes of both directions, and delays them.
// It does both so that little stands between two datacenters: on a machine that is busy with their nodes, each program
// and each goroutine on the way adds its own wait for a core to the round trip.
type relay struct {
	listener net.Listener
	target   string
	bytes    atomic.Int64
	delay    atomic.Int64 // of each direction, in nanoseconds
	running  sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{} // guarded by mu
	closed bool                  // guarded by mu
}

// relayBuffer is what one direction of a connection reads at once.
const relayBuffer = 64 << 10

// openRelay listens on a free port. What it accepts it connects with target, until Close.
func openRelay(target string) (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the relay to %s: %w", target, err)
	}
	r := &relay{listener: l, target: target, conns: map[net.Conn]struct{}{}}
	r.running.Go(r.accept)
	return r, nil
}

// Address is where it listens.
func (r *relay) Address() string { return r.listener.Addr().String() }

// Close ends all connections and returns when nothing runs any more.
func (r *relay) Close() {
	_ = r.listener.Close() // the end of accept
	r.mu.Lock()
	r.closed = true
	for c := range r.conns {
		_ = c.Close() // the end of its copies
	}
	r.mu.Unlock()
	r.running.Wait()
}

func (r *relay) accept() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.running.Go(func() { r.serve(in) })
	}
}

func (r *relay) serve(in net.Conn) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", r.target)
	if err != nil {
		return // the target is down; whoever called sees its connection end
	}
	defer func() { _ = out.Close() }()
	if !r.keep(in, out) {
		return
	}
	defer r.drop(in, out)
	var both sync.WaitGroup
	both.Go(func() { r.copy(out, in) })
	both.Go(func() { r.copy(in, out) })
	both.Wait()
}

func (r *relay) keep(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	for _, c := range conns {
		r.conns[c] = struct{}{}
	}
	return true
}

func (r *relay) drop(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		delete(r.conns, c)
	}
}

// copy ends both connections when either does.
func (r *relay) copy(dst, src net.Conn) {
	defer func() { _, _ = dst.Close(), src.Close() }()
	line := newLongLine(dst)
	defer line.close()
	buf := make([]byte, relayBuffer)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			r.bytes.Add(int64(n))
			if !line.send(buf[:n], time.Duration(r.delay.Load())) {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
