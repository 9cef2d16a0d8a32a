package direct

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"geogate/test/certs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// port is a gRPC server with a door.
type port struct {
	addr string
	door *Door
	tls  *tls.Config
}

func newPort(t *testing.T, conf *tls.Config, patience time.Duration) *port {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &port{addr: l.Addr().String(), door: NewDoor(patience), tls: conf}
	s := grpc.NewServer(grpc.Creds(p.door.Credentials(conf)))
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *port) call(ticket []byte) Call {
	return Call{Addr: p.addr, TLS: p.tls, Ticket: ticket, Timeout: 5 * time.Second}
}

// connect makes a connection and returns both its ends.
func (p *port) connect(t *testing.T) (*Conn, net.Conn) {
	t.Helper()
	ticket := p.door.Issue()
	t.Cleanup(ticket.Close)
	c, err := Dial(t.Context(), p.call(ticket.Secret))
	if err != nil {
		t.Fatal(err)
	}
	far := <-ticket.Conn
	t.Cleanup(func() {
		_ = c.Close()
		_ = far.Close()
	})
	return c, far
}

// ping asks the gRPC server of the port something.
func (p *port) ping(t *testing.T) error {
	t.Helper()
	creds := insecure.NewCredentials()
	if p.tls != nil {
		creds = credentials.NewTLS(p.tls)
	}
	conn, err := grpc.NewClient("passthrough:///"+p.addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

// both runs a test in plain text and over TLS with certificates on both sides.
func both(t *testing.T, test func(t *testing.T, conf *tls.Config)) {
	t.Run("plain", func(t *testing.T) { test(t, nil) })
	t.Run("TLS", func(t *testing.T) { test(t, certs.Mutual(t)) })
}

func message(index uint64, size int) raftpb.Message {
	return raftpb.Message{Type: raftpb.MsgApp, From: 1, To: 2, Index: index, Context: bytes.Repeat([]byte{byte(index)}, size)}
}

// expect receives n messages with ascending indexes from 1 on.
func expect(t *testing.T, far net.Conn, n uint64) {
	t.Helper()
	enough := errors.New("enough")
	next := uint64(1)
	err := Receive(far, 64<<20, func(b []byte) error {
		var m raftpb.Message
		if err := m.Unmarshal(b); err != nil {
			return err
		}
		if m.Index != next || !bytes.Equal(m.Context, bytes.Repeat([]byte{byte(next)}, len(m.Context))) {
			t.Fatalf("message %d in the place of %d", m.Index, next)
		}
		if next++; next > n {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatalf("after message %d: %v", next-1, err)
	}
}

func TestMessagesArriveInOrder(t *testing.T) {
	both(t, func(t *testing.T, conf *tls.Config) {
		c, far := newPort(t, conf, time.Minute).connect(t)
		sizes := []int{0, 1, 100, readBytes - 20, readBytes, readBytes + 1, 3 << 20, 5, 100_000, 7}
		sent := make(chan error, 1)
		go func() {
			index := uint64(0)
			for range 4 {
				var some []raftpb.Message
				for _, size := range sizes {
					index++
					some = append(some, message(index, size))
				}
				if err := errors.Join(c.Send(some[:3]...), c.Send(some[3:]...), c.Flush()); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		expect(t, far, uint64(4*len(sizes)))
		if err := <-sent; err != nil {
			t.Error(err)
		}
	})
}

// Who has a message never waits for who reads it.
func TestSendDoesNotWait(t *testing.T) {
	both(t, func(t *testing.T, conf *tls.Config) {
		c, far := newPort(t, conf, time.Minute).connect(t)
		n := uint64(0)
		for n < 60 || !c.Behind() { // more than the kernel takes
			if n++; n > 10_000 {
				t.Fatal("4 GB on their way, and the connection isn't behind")
			}
			if err := c.Send(message(n, 400_000)); err != nil {
				t.Fatal(err)
			}
		}
		flushed := make(chan error, 1)
		go func() { flushed <- c.Flush() }()
		select {
		case err := <-flushed:
			t.Fatalf("flushed while nobody reads: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		n++
		if err := c.Send(message(n, 10)); err != nil { // while another goroutine flushes
			t.Fatal(err)
		}
		expect(t, far, n)
		if err := <-flushed; err != nil || c.Behind() {
			t.Errorf("flushed: %v, behind: %v", err, c.Behind())
		}
	})
}

func TestFlushEndsWithTheConnection(t *testing.T) {
	for name, end := range map[string]func(c *Conn, far net.Conn) error{
		"closed here":  func(c *Conn, _ net.Conn) error { return c.Close() },
		"closed there": func(_ *Conn, far net.Conn) error { return far.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			c, far := newPort(t, nil, time.Minute).connect(t)
			for i := uint64(1); !c.Behind(); i++ {
				if err := c.Send(message(i, 1<<20)); err != nil {
					t.Fatal(err)
				}
			}
			ended := make(chan error, 2)
			go func() { ended <- c.Flush() }()
			go func() { ended <- c.Wait() }()
			if err := end(c, far); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := <-ended; err == nil {
					t.Error("no error of a connection that has ended")
				}
			}
			if c.Send(message(1, 1)) == nil {
				t.Error("sent on a connection that has ended")
			}
		})
	}
}

func TestDoorLetsGRPCPass(t *testing.T) {
	both(t, func(t *testing.T, conf *tls.Config) {
		p := newPort(t, conf, time.Minute)
		p.connect(t)
		if err := p.ping(t); err != nil {
			t.Error(err)
		}
	})
}

func TestTickets(t *testing.T) {
	both(t, func(t *testing.T, conf *tls.Config) {
		p := newPort(t, conf, time.Minute)
		used, void := p.door.Issue(), p.door.Issue()
		defer used.Close()
		c, err := Dial(t.Context(), p.call(used.Secret))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		void.Close()
		for name, secret := range map[string][]byte{
			"used": used.Secret, "void": void.Secret, "of nobody": make([]byte, ticketBytes),
		} {
			if c, err := Dial(t.Context(), p.call(secret)); err == nil {
				t.Errorf("a ticket that is %s was taken", name)
				_ = c.Close()
			}
		}
		p.door.mu.Lock()
		if left := len(p.door.issued); left != 0 {
			t.Errorf("%d tickets are left", left)
		}
		p.door.mu.Unlock()
		used.Close() // nobody has taken its connection
		if err := c.Wait(); !errors.Is(err, ErrEnded) {
			t.Errorf("connection of a closed ticket: %v", err)
		}
	})
}

// A ticket that becomes void while somebody shows it admits nobody.
func TestTicketIsVoidAtOnce(t *testing.T) {
	d := NewDoor(time.Minute)
	ticket := d.Issue()
	near, far := net.Pipe()
	admitted := make(chan error, 1)
	go func() { admitted <- d.admit(&answering{Conn: far, before: ticket.Close}) }()
	if _, err := near.Write(ticket.Secret); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(near, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-admitted; !errors.Is(err, errTicket) || len(ticket.Conn) != 0 {
		t.Errorf("admitted with a void ticket: %v", err)
	}
	_, _ = near.Close(), far.Close()
}

// answering is a connection on which something happens before an answer.
type answering struct {
	net.Conn
	before func()
}

func (c *answering) Write(b []byte) (int, error) {
	c.before()
	return c.Conn.Write(b)
}

// A connection that says nothing is closed, and one that says something else gets nowhere.
func TestDoorIsNotHeldOpen(t *testing.T) {
	p := newPort(t, nil, 50*time.Millisecond)
	for _, head := range []string{"", "GG", opening, opening + "half", opening + "nobody's ticket!", "GET / HTTP/1.1\r\n\r\n"} {
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, head); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			t.Errorf("%q: still open", head)
		}
		_ = conn.Close()
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// Over TLS the name of the protocol decides, and a certificate is needed as for gRPC.
func TestDoorWantsACertificate(t *testing.T) {
	conf := certs.Mutual(t)
	p := newPort(t, conf, time.Minute)
	ticket := p.door.Issue()
	defer ticket.Close()
	call := p.call(ticket.Secret)
	call.TLS = &tls.Config{RootCAs: conf.RootCAs, MinVersion: tls.VersionTLS13}
	if c, err := Dial(t.Context(), call); err == nil {
		t.Error("admitted without a certificate")
		_ = c.Close()
	}
	if len(ticket.Conn) != 0 {
		t.Error("a connection without a certificate was handed over")
	}
}

// The bytes are those of README.md.
func TestBytes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sent := raftpb.Message{Type: raftpb.MsgHeartbeat, From: 1, To: 2, Term: 3, Commit: 300}
	opened := make(chan error, 1)
	go func() {
		c, err := Dial(t.Context(), Call{Addr: l.Addr().String(), Ticket: []byte("sixteen bytes !!"), Timeout: time.Minute})
		if err == nil {
			err = errors.Join(c.Send(sent), c.Close())
		}
		opened <- err
	}()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if _, err := far.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(far)
	if err := errors.Join(err, <-opened); err != nil {
		t.Fatal(err)
	}
	raw, err := sent.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	want := "GGM1sixteen bytes !!\x1f" + string(raw)
	if string(got) != want {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}

func TestReceiveRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		sent []byte
		want error
	}{
		{"too large", binary.AppendUvarint(nil, 1001), ErrTooLarge},
		{"cut off", append(binary.AppendUvarint(nil, 1000), 1, 2, 3), io.EOF},
		{"cut off, large", append(binary.AppendUvarint(nil, 60_000), 1, 2, 3), io.ErrUnexpectedEOF},
		{"cut off in the length", []byte{0x80}, io.ErrUnexpectedEOF},
		{"length without end", bytes.Repeat([]byte{0xff}, 20), nil},
	} {
		near, far := net.Pipe()
		go func() {
			_, _ = near.Write(c.sent)
			_ = near.Close()
		}()
		limit := 1000
		if errors.Is(c.want, io.ErrUnexpectedEOF) {
			limit = 100_000
		}
		err := Receive(far, limit, func([]byte) error { t.Errorf("%s: something was received", c.name); return nil })
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		_ = far.Close()
	}
}

func FuzzReceive(f *testing.F) {
	m := message(1, 3)
	one, err := appendMessage(nil, &m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(one)
	f.Add(append(one, one...))
	f.Add([]byte{0})
	f.Add([]byte{0xff, 0xff, 0x7f, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		near, far := net.Pipe()
		go func() {
			_, _ = near.Write(b)
			_ = near.Close()
		}()
		var again []byte
		err := Receive(far, 100_000, func(m []byte) error {
			again = append(binary.AppendUvarint(again, uint64(len(m))), m...)
			return nil
		})
		_ = far.Close()
		if err == nil && len(again) > len(b) {
			t.Fatalf("%d bytes came of %d", len(again), len(b))
		}
	})
}

// What is on the way of each write costs no memory.
func TestAllocations(t *testing.T) {
	c, far := newPort(t, nil, time.Minute).connect(t)
	received := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- Receive(far, 1<<20, func([]byte) error { received <- struct{}{}; return nil })
	}()
	m := message(7, 300)
	if n := testing.AllocsPerRun(1000, func() {
		if err := c.Send(m); err != nil {
			t.Fatal(err)
		}
		<-received
	}); n > 0 {
		t.Errorf("%v allocations for a message, want none", n)
	}
	_ = c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
