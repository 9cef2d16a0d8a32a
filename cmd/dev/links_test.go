package dev

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"geogate/configs"
)

// echoes is a topology whose NATS addresses are servers that send back every line.
func echoes(t *testing.T, dcs ...string) *configs.Topology {
	t.Helper()
	top := configs.Default()
	for _, name := range dcs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer func() { _ = c.Close() }()
					_, _ = io.Copy(c, c)
				}()
			}
		}()
		top.Datacenters = append(top.Datacenters, configs.Datacenter{Name: name,
			Nodes: []configs.Node{{Name: "n0", NATS: l.Addr().String()}}})
	}
	return top
}

func openLinks(t *testing.T, top *configs.Topology, rtt time.Duration) *Links {
	t.Helper()
	l, err := OpenLinks(top, rtt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	top.Links = l.Topology()
	return l
}

// caller is one connection from a datacenter to another's NATS.
type caller struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func call(t *testing.T, top *configs.Topology, from, to string) *caller {
	t.Helper()
	e := top.Endpoints(from, to)
	if len(e) != 1 || e[0].Node != "n0" {
		t.Fatalf("from %s to %s: endpoints %v, want one of n0", from, to, e)
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(e[0].URL, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &caller{t, c, bufio.NewReader(c)}
}

// echo sends a line and waits for it, patiently or briefly.
func (c *caller) echo(wait time.Duration) (time.Duration, error) {
	begin := time.Now()
	if _, err := c.conn.Write([]byte("hello\n")); err != nil {
		return 0, err
	}
	_ = c.conn.SetReadDeadline(begin.Add(wait))
	_, err := c.r.ReadString('\n')
	return time.Since(begin), err
}

func (c *caller) mustEcho() time.Duration {
	c.t.Helper()
	d, err := c.echo(10 * time.Second)
	if err != nil {
		c.t.Fatal(err)
	}
	return d
}

func set(t *testing.T, l *Links, a, b string, words ...string) LinkState {
	t.Helper()
	c, err := ParseChange(words)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Set(a, b, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRTT(t *testing.T) {
	top := echoes(t, "a", "b")
	l := openLinks(t, top, 101*time.Millisecond)
	c := call(t, top, "a", "b")
	if d := c.mustEcho(); d < 101*time.Millisecond {
		t.Errorf("a round trip took %s, want at least 101ms", d)
	}
	if s := set(t, l, "b", "a", "rtt=0s"); s != (LinkState{A: "a", B: "b"}) {
		t.Errorf("state %+v", s)
	}
	if d := c.mustEcho(); d > 90*time.Millisecond {
		t.Errorf("a round trip took %s after the delay was taken away", d)
	}
	set(t, l, "a", "b", "rtt=50ms")
	if d := c.mustEcho(); d < 50*time.Millisecond {
		t.Errorf("a round trip on the same connection took %s, want at least 50ms", d)
	}
}

func TestBandwidth(t *testing.T) {
	top := echoes(t, "a", "b")
	l := openLinks(t, top, 0)
	set(t, l, "a", "b", "bandwidth=1MB")
	c := call(t, top, "b", "a")
	begin := time.Now()
	const size = 400_000
	go func() { _, _ = c.conn.Write(make([]byte, size)) }()
	if _, err := io.CopyN(io.Discard, c.conn, size); err != nil {
		t.Fatal(err)
	}
	// Both ways take 0.4 s and overlap; the first kilobytes pass at once.
	if d := time.Since(begin); d < 300*time.Millisecond {
		t.Errorf("%d bytes took %s at 1 MB/s", size, d)
	}
}

// TestCut states what a cut must not do: let a byte or the end of a connection through, on old connections
// and new ones, or touch another link. After healing, connections that lost bytes end, and new ones work.
func TestCut(t *testing.T) {
	const silence = 200 * time.Millisecond
	top := echoes(t, "a", "b", "c")
	l := openLinks(t, top, 10*time.Millisecond)
	old := call(t, top, "a", "b")
	back := call(t, top, "b", "a")
	other := call(t, top, "a", "c")
	for _, c := range []*caller{old, back, other} {
		c.mustEcho()
	}
	if s := set(t, l, "a", "b", "cut"); !s.Cut {
		t.Errorf("state %+v", s)
	}
	fresh := call(t, top, "a", "b")
	for name, c := range map[string]*caller{"old": old, "backward": back, "new": fresh} {
		if _, err := c.echo(silence); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s connection over the cut: %v, want silence", name, err)
		}
	}
	other.mustEcho()
	set(t, l, "a", "b", "rtt=20ms") // a cut link can be changed and stays cut
	if _, err := call(t, top, "a", "b").echo(silence); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after changing the delay: %v, want silence", err)
	}

	set(t, l, "b", "a", "heal")
	call(t, top, "a", "b").mustEcho()
	call(t, top, "b", "a").mustEcho()
	for name, c := range map[string]*caller{"old": old, "backward": back, "new": fresh} {
		_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s connection lost bytes and goes on: %v", name, err)
		}
	}
	other.mustEcho()
}

// TestCutHidesTheEnd has the far side close: the near side must not learn of it before the link heals.
func TestCutHidesTheEnd(t *testing.T) {
	top := configs.Default()
	accepted := make(chan net.Conn, 1)
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		if c, err := server.Accept(); err == nil {
			accepted <- c
		}
	}()
	for name, addr := range map[string]string{"a": "127.0.0.1:1", "b": server.Addr().String()} {
		top.Datacenters = append(top.Datacenters, configs.Datacenter{Name: name, Nodes: []configs.Node{{Name: "n0", NATS: addr}}})
	}
	l := openLinks(t, top, 0)
	c := call(t, top, "a", "b")
	far := <-accepted
	set(t, l, "a", "b", "cut")
	_ = far.Close()
	_ = c.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := c.r.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the end came through the cut: %v", err)
	}
	set(t, l, "a", "b", "heal")
	_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after healing: %v, want the end", err)
	}
}

// TestCloseWhileCut must leave no goroutine behind, though cut connections hold what they were given.
func TestCloseWhileCut(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("links", func(t *testing.T) {
		top := echoes(t, "a", "b")
		l := openLinks(t, top, 20*time.Millisecond)
		c := call(t, top, "a", "b")
		c.mustEcho()
		set(t, l, "a", "b", "cut")
		for range 50 { // more than any hop on the way buffers
			if _, err := c.conn.Write(make([]byte, 64<<10)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.echo(50 * time.Millisecond); err == nil {
			t.Error("the cut lets bytes through")
		}
	})
	goleak.VerifyNone(t, before)
}

func TestUnknownLink(t *testing.T) {
	l := openLinks(t, echoes(t, "a", "b"), 0)
	if _, err := l.Set("a", "x", Change{}); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "a b") {
		t.Errorf("got %v, want the links that there are", err)
	}
}

func TestParseChange(t *testing.T) {
	for _, words := range [][]string{{}, {"snip"}, {"rtt"}, {"rtt=fast"}, {"rtt=-1s"}, {"bandwidth=wide"}, {"cut", "what"}} {
		if c, err := ParseChange(words); err == nil {
			t.Errorf("%v reads as %+v", words, c)
		}
	}
	c, err := ParseChange([]string{"heal", "rtt=60ms", "bandwidth=10MB"})
	if err != nil || *c.Cut || *c.RTT != 60*time.Millisecond || *c.Bandwidth != 10_000_000 {
		t.Errorf("%+v, %v", c, err)
	}
}
