package consensus

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"google.golang.org/grpc"

	"geogate/consensus/direct"
	"geogate/test/certs"
)

// direct waits until all lanes are open, those for which want says so with a connection of their own.
func (g *group) direct(want func(from, to uint64) bool) {
	g.t.Helper()
	eventually(g.t, "the lanes to be open, with and without connections of their own", func() bool {
		for _, s := range g.sites {
			for _, p := range s.node.transport.peers() {
				for _, l := range []*lane{p.urgent, p.bulk} {
					if l.down() || l.direct() != want(s.id, p.id) {
						return false
					}
				}
			}
		}
		return true
	})
}

func TestMessagesHaveTheirOwnConnections(t *testing.T) {
	secure := certs.Mutual(t)
	for name, tune := range map[string]func(*Config){"plain": nil, "TLS": func(c *Config) { c.TLS = secure }} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, 3, tune)
			g.direct(func(_, _ uint64) bool { return true })
			g.put("x")
			g.everywhere(g.leader())
		})
	}
}

// A node of the version before has streams only. Half upgraded, a group works as it did.
func TestMessagesBesideTheVersionBefore(t *testing.T) {
	g := newGroup(t, 3, func(c *Config) { c.streams = c.NodeID == 2 })
	for i := range 3 {
		g.direct(func(from, to uint64) bool { return from != 2 && to != 2 })
		leader := g.leader()
		g.put(fmt.Sprint("write ", i))
		g.everywhere(leader)
		g.stop(leader) // the next one leads
		g.put(fmt.Sprint("another ", i))
		g.start(leader)
	}
	g.everywhere(g.leader())
}

// Where something on the way lets only HTTP/2 pass, messages go through gRPC.
func TestMessagesThroughHTTP2Alone(t *testing.T) {
	g := newGroup(t, 3, func(c *Config) {
		behind, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		proxyHTTP2(t, c.Members[c.NodeID-1].Addr, behind.Addr().String())
		c.Listener = behind
	})
	g.direct(func(_, _ uint64) bool { return false })
	g.put("x")
	g.everywhere(g.leader())
}

// proxyHTTP2 listens at an address and passes on to another one what begins as HTTP/2 does.
func proxyHTTP2(t *testing.T, at, to string) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { passHTTP2(near, to) })
		}
	})
}

func passHTTP2(near net.Conn, to string) {
	defer near.Close()
	head := make([]byte, 3)
	if _, err := io.ReadFull(near, head); err != nil || string(head) != "PRI" {
		return
	}
	far, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer far.Close()
	if _, err := far.Write(head); err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(near, far)
		_ = near.Close()
	})
	_, _ = io.Copy(far, near)
	_ = far.Close()
	back.Wait()
}

// Messages of a lane keep their order, whether they go past its queue or through it.
func TestLaneKeepsItsOrder(t *testing.T) {
	conn, far := directPair(t)
	l := &lane{box: newMailbox(1<<20, 1<<40)}
	l.open.Store(true)
	l.conn.Store(conn)
	const n = 20_000
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() { // as in stream
		for {
			select {
			case <-l.box.ready:
				if err := l.drain(overConn(conn)); err != nil {
					t.Error(err)
				}
			case <-done:
				return
			}
		}
	})
	past := 0
	wg.Go(func() {
		for i := uint64(1); i <= n; i++ {
			m := raftpb.Message{Type: raftpb.MsgApp, Index: i, Context: make([]byte, rand.IntN(2000))}
			if i%100 == 0 {
				m.Context = make([]byte, nowBytes)
			}
			if l.sendNow(&m) {
				past++
			} else if !l.offer(m) {
				t.Error("does not fit")
			}
		}
	})
	enough := errors.New("enough")
	next := uint64(1)
	err := direct.Receive(far, 1<<20, func(b []byte) error {
		var m raftpb.Message
		if err := m.Unmarshal(b); err != nil {
			return err
		}
		if m.Index != next {
			return fmt.Errorf("message %d in the place of %d", m.Index, next)
		}
		if next++; next > n {
			return enough
		}
		return nil
	})
	close(done)
	wg.Wait()
	if !errors.Is(err, enough) {
		t.Error(err)
	}
	if past == 0 || past == n {
		t.Errorf("%d of %d messages went past the queue; the test wants both ways", past, n)
	}
}

// What a peer doesn't read waits in the queue, which is bounded, and not in the connection.
func TestLaneIsBounded(t *testing.T) {
	conn, _ := directPair(t)
	l := &lane{box: newMailbox(10, 1<<40)}
	l.open.Store(true)
	l.conn.Store(conn)
	for range 100_000 {
		if !l.offer(raftpb.Message{Context: make([]byte, 10_000)}) {
			return
		}
	}
	t.Error("a gigabyte is on its way to a peer that reads nothing")
}

// directPair makes a direct connection.
func directPair(t *testing.T) (*direct.Conn, net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	door := direct.NewDoor(time.Minute)
	server := grpc.NewServer(grpc.Creds(door.Credentials(nil)))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ticket := door.Issue()
	conn, err := direct.Dial(t.Context(), direct.Call{Addr: listener.Addr().String(), Ticket: ticket.Secret, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	far := <-ticket.Conn
	t.Cleanup(func() {
		ticket.Close()
		server.Stop()
		if err := errors.Join(conn.Close(), far.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return conn, far
}

// Where the connection for heartbeats ends, that for entries is of no use either, though the kernel may not know yet.
func TestConnectionForEntriesEndsWithThatForHeartbeats(t *testing.T) {
	g := newGroup(t, 3, nil)
	g.direct(func(_, _ uint64) bool { return true })
	for _, p := range g.leader().node.transport.peers() {
		before := []*direct.Conn{p.urgent.conn.Load(), p.bulk.conn.Load()}
		if err := before[0].Close(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "both connections to be made anew", func() bool {
			now := []*direct.Conn{p.urgent.conn.Load(), p.bulk.conn.Load()}
			return !slices.Contains(now, nil) && now[0] != before[0] && now[1] != before[1]
		})
	}
	g.put("x")
	g.everywhere(g.leader())
}

// A node with a certificate that the others don't trust is down to them; the log says why it is, once.
func TestWrongCertificateIsLogged(t *testing.T) {
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	ours, theirs := certs.Mutual(t), certs.Mutual(t)
	g := newGroup(t, 3, func(c *Config) {
		c.TLS = ours
		if c.NodeID == 3 {
			c.TLS = theirs
		} else {
			c.Logger = slog.New(slog.NewTextHandler(log, nil))
		}
	})
	reasons := func() (told int) {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "stream to peer ended") && strings.Contains(line, "peer=3") && strings.Contains(line, "certificate") {
				told++
			}
		}
		return told
	}
	eventually(t, "both others to log the reason", func() bool { return reasons() >= 2 })
	time.Sleep(handshakeTimeout + time.Second) // another attempt
	if n := reasons(); n != 2 {
		t.Errorf("%d lines with the reason of two nodes", n)
	}
	for i, want := range []float64{2, 2, 4} {
		if down := g.sites[i].node.transport.lanes((*lane).down); down != want {
			t.Errorf("node %d has %g lanes down, want %g", i+1, down, want)
		}
	}
}
