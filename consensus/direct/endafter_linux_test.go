package direct

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUnansweredConnectionEnds asks the kernel what it was told.
func TestUnansweredConnectionEnds(t *testing.T) {
	p := newPort(t, nil, time.Minute)
	for _, want := range []time.Duration{0, 1234 * time.Millisecond} {
		ticket := p.door.Issue()
		defer ticket.Close()
		call := p.call(ticket.Secret)
		call.Unanswered = want
		c, err := Dial(t.Context(), call)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var got int
		var failed error
		err = c.sock.raw.Control(func(fd uintptr) { got, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) })
		if err := errors.Join(err, failed); err != nil || time.Duration(got)*time.Millisecond != want {
			t.Errorf("the kernel ends the connection after %d ms without answer, %v; want %s", got, err, want)
		}
	}
}
