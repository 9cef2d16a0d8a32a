package process

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Ports are handed out below the range from which kernels take those of outgoing connections, and below those of
// `geogate dev`.
const (
	firstPort = 10_000
	portCount = 14_000
)

// ErrPorts says that there are not enough free ports.
var ErrPorts = errors.New("no free port")

// portFile has the port that was handed out last, to any process of this user on this machine: a port is free between its
// choice and the start of its server, so that two processes could choose the same one.
func portFile() string {
	return filepath.Join(os.TempDir(), "geogate-ports-"+strconv.Itoa(os.Getuid()))
}

// Ports finds n different ports on which nothing listens on 127.0.0.1. They are free, not reserved; but nobody else who asks
// here gets one of them before all others have had their turn.
func Ports(n int) ([]int, error) {
	var out []int
	err := handOut(func(port int) (enough bool) {
		if free(port) {
			out = append(out, port)
		}
		return len(out) >= n
	})
	return out, err
}

// PortRange finds n consecutive ports, as Ports does, and returns the first of them.
func PortRange(n int) (int, error) {
	first, last := 0, 0
	err := handOut(func(port int) (enough bool) {
		switch {
		case !free(port):
			first, last = 0, 0
			return false
		case first == 0 || port != last+1:
			first = port
		}
		last = port
		return last-first+1 >= n
	})
	return first, err
}

// handOut offers one port after the other, each once at most, until take has enough.
func handOut(take func(port int) (enough bool)) (err error) {
	f, err := os.OpenFile(portFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("choose ports: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil { // given up with the file
		return fmt.Errorf("choose ports: lock %s: %w", f.Name(), err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 20))
	if err != nil {
		return fmt.Errorf("choose ports: %w", err)
	}
	next, _ := strconv.Atoi(string(text)) // a new file, and nonsense in it, begin anew
	for range portCount {
		next = (max(next, 0) + 1) % portCount
		if !take(firstPort + next) {
			continue
		}
		if err := f.Truncate(0); err != nil {
			return fmt.Errorf("choose ports: %w", err)
		}
		if _, err := f.WriteAt([]byte(strconv.Itoa(next)), 0); err != nil {
			return fmt.Errorf("choose ports: %w", err)
		}
		return nil
	}
	return fmt.Errorf("%w: not enough of them between %d and %d", ErrPorts, firstPort, firstPort+portCount)
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
