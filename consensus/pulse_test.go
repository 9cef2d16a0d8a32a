package consensus

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"

	"geogate/test/wakeups"
)

// pulseOf runs the pulse of node 1 until the test ends, and says what was sent so far.
func pulseOf(t *testing.T, stall time.Duration) (p *pulse, sent func() int) {
	p = newPulse(&Config{NodeID: 1, TickInterval: 100 * time.Millisecond, HeartbeatTicks: 1, MaxDiskStall: stall})
	n := 0
	p.send, p.count, p.peers = func(raftpb.Message) { n++ }, func() {}, func() []uint64 { return []uint64{2, 3} }
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return p, func() int {
		synctest.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		return n
	}
}

func TestPulseBeatsWhileASaveTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, sent := pulseOf(t, time.Second)
		for range 50 { // saves that are no stall
			p.begin(7, 1)
			time.Sleep(99 * time.Millisecond)
			p.end()
		}
		if n := sent(); n != 0 {
			t.Fatalf("%d messages during saves of less than an interval", n)
		}
		p.begin(7, 1)
		time.Sleep(350 * time.Millisecond)
		p.end()
		time.Sleep(time.Hour)
		if n := sent(); n != 3*2 {
			t.Errorf("%d messages to two peers in 3.5 intervals, want 6", n)
		}
		p.begin(7, 1)
		time.Sleep(time.Hour)
		if n := sent() - 6; n != 9*2 {
			t.Errorf("%d messages in a stall for ever, want those of 9 intervals: the limit is at the tenth", n)
		}
		p.end()
		p.begin(7, 2)
		time.Sleep(time.Hour)
		if n := sent() - 24; n != 0 {
			t.Errorf("%d messages of a follower", n)
		}
	})
}

func TestPulseSleepsWhileNothingIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pulseOf(t, time.Second)
		if n := wakeups.During(func() { time.Sleep(time.Hour) }); n > 100 {
			t.Errorf("about %d wake-ups in an hour", n)
		}
	})
}
