package direct

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// endAfter has the kernel end a connection when nobody has confirmed for so long what was sent on it. By default it
// goes on for some fifteen minutes, with pauses that double: what was cut off for ten seconds may be so for ten more.
func endAfter(d time.Duration) func(network, address string, c syscall.RawConn) error {
	if d == 0 {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
		})
		return errors.Join(err, failed)
	}
}
