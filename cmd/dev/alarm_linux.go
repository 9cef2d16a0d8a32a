package dev

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm rings on time. Go's own timers end the sleep of an idle process by the timeout of epoll_wait, which is
// in whole milliseconds; a timer of the kernel is a file that becomes readable at its moment.
type alarm struct {
	fd    int
	file  *os.File // nil where the kernel gave none: then Go's timers have to do
	rings chan time.Time
}

func newAlarm() *alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return &alarm{}
	}
	a := &alarm{fd: fd, file: os.NewFile(uintptr(fd), "timerfd"), rings: make(chan time.Time, 1)}
	go a.listen()
	return a
}

// listen ends when the file is closed.
func (a *alarm) listen() {
	var expirations [8]byte
	for {
		if _, err := a.file.Read(expirations[:]); err != nil {
			return
		}
		select {
		case a.rings <- time.Now():
		default: // nobody has waited for the one before
		}
	}
}

// in rings once after d, which is above 0. The ring before must have been received.
func (a *alarm) in(d time.Duration) <-chan time.Time {
	if a.file == nil {
		return time.After(d)
	}
	if err := unix.TimerfdSettime(a.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}, nil); err != nil {
		return time.After(d)
	}
	return a.rings
}

func (a *alarm) close() {
	if a.file != nil {
		_ = a.file.Close() // the end of listen
	}
}
