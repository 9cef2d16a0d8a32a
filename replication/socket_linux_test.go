package replication

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestConnectionHasASendTimeout asks the kernel. What comes of it takes packets that vanish: row stuck-link of
// test/faults.
func TestConnectionHasASendTimeout(t *testing.T) {
	c := newCluster(t, func(cfg *Config) { cfg.SendTimeout = 1234 * time.Millisecond }, "a", "b")
	c.healthy(20 * time.Second)
	k := c.engine("b").current.Load().peers["a"].receiver.link.Load()
	tcp, ok := k.socket.open.Load().Conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("the socket is a %T", k.socket.open.Load().Conn)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got int
	var failed error
	err = raw.Control(func(fd uintptr) { got, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) })
	if err := errors.Join(err, failed); err != nil || got != 1234 {
		t.Errorf("the kernel ends the connection after %d ms without answer, %v; want 1234", got, err)
	}
}
