package main

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// longLine is one direction of a connection over a WAN: what is sent on it arrives after the delay of that moment, in
// order. Who sends never waits, but for room.
type longLine struct {
	to    io.Writer
	queue chan parcel
	// under is what has been sent and not arrived. While it is 0 and there is no delay, the sender delivers by itself.
	under   atomic.Int64
	failed  atomic.Bool
	running sync.WaitGroup
}

// parcel is what was read at once.
type parcel struct {
	data []byte
	due  time.Time
}

// lineParcels bounds what is on its way.
const lineParcels = 1024

func newLongLine(to io.Writer) *longLine {
	l := &longLine{to: to, queue: make(chan parcel, lineParcels)}
	l.running.Go(l.deliver)
	return l
}

// send takes data, which stays the caller's. It says whether the other end still takes any.
func (l *longLine) send(data []byte, delay time.Duration) bool {
	if delay == 0 && l.under.Load() == 0 {
		l.write(data)
	} else {
		l.under.Add(1)
		l.queue <- parcel{slices.Clone(data), time.Now().Add(delay)}
	}
	return !l.failed.Load()
}

// close returns when everything has arrived.
func (l *longLine) close() {
	close(l.queue)
	l.running.Wait()
}

func (l *longLine) deliver() {
	n := newNap()
	defer n.close()
	for p := range l.queue {
		n.take(time.Until(p.due))
		l.write(p.data)
		l.under.Add(-1)
	}
}

func (l *longLine) write(data []byte) {
	if l.failed.Load() {
		return
	}
	if _, err := l.to.Write(data); err != nil {
		l.failed.Store(true)
	}
}
