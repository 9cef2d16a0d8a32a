package replication

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// endAfter has the kernel end a connection when what was sent on it has had no answer for so long, though it was
// sent again. TCP doubles its pause with each try. Where only what this node sends is stuck, messages go on
// arriving, so nobody else sees that; and its acks would come later by as much again as the way was closed.
func endAfter(d time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
		})
		return errors.Join(err, failed)
	}
}
