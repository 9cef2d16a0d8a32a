package wan

import (
	"bytes"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// queuePackets bounds what is on the way in one direction.
const queuePackets = 8192

// Counts are packets by what became of them.
type Counts struct{ Carried, Lost, Cut, Dropped uint64 }

type packet struct {
	at   time.Time
	data []byte
}

// link is one direction between two sites. The goroutine that reads the sender's device calls send, another
// one runs deliver.
type link struct {
	conditions atomic.Pointer[Conditions]
	fates      [4]atomic.Uint64
	pacer      pacer // of send
	queue      chan packet
}

func newLink(rnd *rand.Rand, c Conditions) *link {
	l := &link{pacer: pacer{rnd: rnd}, queue: make(chan packet, queuePackets)}
	l.conditions.Store(&c)
	return l
}

func (l *link) send(now time.Time, data []byte) {
	at, f := l.pacer.next(now, len(data), *l.conditions.Load())
	if f == carried {
		select {
		case l.queue <- packet{at, bytes.Clone(data)}:
		default:
			f = dropped
		}
	}
	l.fates[f].Add(1)
}

// deliver hands packets to the receiver's device when their time has come. Packets that are on the way when a
// direction is cut still arrive, as they would from a real wire.
func (l *link) deliver(to *Site, quit <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var p packet
		select {
		case p = <-l.queue:
		case <-quit:
			return
		}
		if d := time.Until(p.at); d > 0 {
			timer.Reset(d)
			select {
			case <-timer.C:
			case <-quit:
				return
			}
		}
		_, _ = to.tun.Write(p.data) // a receiver that has no room loses the packet, as any does
	}
}

func (l *link) counts() Counts {
	return Counts{
		Carried: l.fates[carried].Load(), Lost: l.fates[lost].Load(),
		Cut: l.fates[cut].Load(), Dropped: l.fates[dropped].Load(),
	}
}
