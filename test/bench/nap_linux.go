package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// nap sleeps to the moment. Go's timers end the sleep of an idle process in whole milliseconds; to read from a timer of
// the kernel costs a thread, and no goroutine has to wake another one. It belongs to one goroutine.
type nap struct{ fd int }

func newNap() *nap {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	if err != nil {
		fd = -1 // Go's timers have to do
	}
	return &nap{fd: fd}
}

// take sleeps for d.
func (n *nap) take(d time.Duration) {
	if d <= 0 {
		return
	}
	begin := time.Now()
	if n.fd >= 0 && unix.TimerfdSettime(n.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}, nil) == nil {
		var expirations [8]byte
		_, _ = unix.Read(n.fd, expirations[:]) // a signal may end it early
	}
	time.Sleep(d - time.Since(begin))
}

func (n *nap) close() {
	if n.fd >= 0 {
		_ = unix.Close(n.fd) // nothing to lose
	}
}
