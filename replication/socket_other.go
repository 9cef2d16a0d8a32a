//go:build !linux

package replication

import (
	"syscall"
	"time"
)

// endAfter does nothing here: what was sent is sent again after pauses that double, for minutes.
func endAfter(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
