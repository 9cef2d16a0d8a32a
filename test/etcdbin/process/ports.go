package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are taken from below 32768: no kernel hands those to outgoing connections, so that only another
// server can take one before it is used.
const (
	firstPort = 10_000
	lastPort  = 23_999
	portTries = 1_000
)

// ErrPorts says that there are not enough free ports.
var ErrPorts = errors.New("no free port")

// Ports finds n different ports on which nothing listens on 127.0.0.1. They are free, not reserved: a
// caller that finds one taken after all asks again.
func Ports(n int) ([]int, error) {
	var out []int
	var open []net.Listener
	defer func() {
		for _, l := range open {
			_ = l.Close() // nobody has connected
		}
	}()
	for tries := 0; len(out) < n; tries++ {
		if tries == n*portTries {
			return nil, fmt.Errorf("%w: found %d of %d from %d to %d", ErrPorts, len(out), n, firstPort, lastPort)
		}
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		open, out = append(open, l), append(out, port)
	}
	return out, nil
}
