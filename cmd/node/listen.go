package node

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// listen opens a port, and says what to do when another process has it.
func listen(what, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("the %s address %s is in use by another process: stop that one, or give this node another address in the topology: %w", what, addr, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on the %s address %s: %w", what, addr, err)
	}
	return l, nil
}
