package replication

import (
	"maps"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy is a TCP link that can be cut. A cut link is a black hole: connections stay, new ones are taken,
// and nothing passes. What was sent before is delivered when it heals, as TCP's retransmissions would.
type proxy struct {
	l      net.Listener
	target string

	mu    sync.Mutex
	open  chan struct{}         // guarded by mu; closed while data may pass
	conns map[net.Conn]struct{} // guarded by mu
	dead  map[net.Conn]struct{} // guarded by mu; what they read goes nowhere
	full  map[net.Conn]struct{} // guarded by mu; nothing is read from them
	rate  int                   // guarded by mu; bytes per second, 0 is unlimited
	wg    sync.WaitGroup
	ended chan struct{}
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{
		l: l, target: target, open: make(chan struct{}), conns: map[net.Conn]struct{}{}, dead: map[net.Conn]struct{}{}, full: map[net.Conn]struct{}{}, ended: make(chan struct{}),
	}
	close(p.open)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.heal()
		p.sever()
		close(p.ended)
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.l.Addr().String() }

func (p *proxy) accept() {
	for {
		in, err := p.l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(in) })
	}
}

func (p *proxy) serve(in net.Conn) {
	p.mu.Lock()
	p.conns[in] = struct{}{}
	target := p.target
	p.mu.Unlock()
	defer p.drop(in)
	<-p.gate()
	out, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.conns[out] = struct{}{}
	p.mu.Unlock()
	defer p.drop(out)
	var both sync.WaitGroup
	pump := func(dst, src net.Conn) {
		defer dst.Close()
		defer src.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := src.Read(buf[:p.most(len(buf))])
			<-p.gate()
			if p.isFull(src) {
				<-p.ended // whoever writes to it waits, or ends it
				return
			}
			if n > 0 && p.carries(src, n) {
				if _, err := dst.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	both.Go(func() { pump(in, out) })
	both.Go(func() { pump(out, in) })
	both.Wait()
}

func (p *proxy) drop(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	delete(p.dead, c)
	delete(p.full, c)
}

func (p *proxy) gate() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
}

func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

// strand makes all connections that there are black holes for ever; new ones work.
func (p *proxy) strand() {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(p.dead, p.conns)
}

// fill makes all connections that there are take no byte any more, so that who writes has to wait; new ones work.
func (p *proxy) fill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(p.full, p.conns)
}

func (p *proxy) isFull(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, full := p.full[c]
	return full
}

// throttle bounds the bytes per second of each direction of each connection.
func (p *proxy) throttle(rate int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = rate
}

// most is what is read at once: little of what is throttled, so that bytes trickle.
func (p *proxy) most(room int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate == 0 {
		return room
	}
	return min(room, max(1, p.rate/100))
}

// carries takes the time that bytes need, and says whether they arrive.
func (p *proxy) carries(src net.Conn, bytes int) bool {
	p.mu.Lock()
	_, dead := p.dead[src]
	rate := p.rate
	p.mu.Unlock()
	if rate > 0 {
		time.Sleep(time.Duration(bytes) * time.Second / time.Duration(rate))
	}
	return !dead
}

// sever closes all connections.
func (p *proxy) sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// retarget sends new connections elsewhere.
func (p *proxy) retarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}
