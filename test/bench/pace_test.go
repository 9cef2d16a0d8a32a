package main

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestBeatKeepsTheRate has clients that take longer than an interval, and enough of them.
func TestBeatKeepsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := beatFor(time.Second, time.Millisecond, markerClients, func(time.Duration) time.Duration { return 5 * time.Millisecond })
		if len(got) < 990 || len(got) > 1000 {
			t.Errorf("%d markers in a second, want 1000", len(got))
		}
	})
}

// TestBeatAfterAStallIsNoFlood has clients that get no answer for a while.
func TestBeatAfterAStallIsNoFlood(t *testing.T) {
	const stall, ends = 200 * time.Millisecond, 700 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		got := beatFor(time.Second, time.Millisecond, markerClients, func(at time.Duration) time.Duration {
			if at > stall && at < ends {
				return ends - at
			}
			return time.Millisecond
		})
		within := func(from, to time.Duration) (n int) {
			for _, at := range got {
				if at > from && at <= to {
					n++
				}
			}
			return n
		}
		if n := within(stall, ends-time.Millisecond); n != markerClients {
			t.Errorf("%d markers during the stall, want one of each of %d clients", n, markerClients)
		}
		const after = 5 * time.Millisecond
		if n := within(ends-time.Millisecond, ends+after); n < markerClients || n > markerClients+6 {
			t.Errorf("%d markers in the %s after the stall, want those of %d clients and of as many intervals", n, after, markerClients)
		}
		if n := within(ends+after, time.Second); n < 293 || n > 296 {
			t.Errorf("%d markers in the last 295 ms, want one each ms", n)
		}
	})
}

// beatFor is when each of the markers was given to one of so many clients. Each takes as long as it does at that time.
func beatFor(load, every time.Duration, clients int, takes func(at time.Duration) time.Duration) []time.Duration {
	began := time.Now()
	loaded := make(chan error, 1)
	time.AfterFunc(load, func() { loaded <- nil })
	next := make(chan int)
	var given []time.Duration // guarded by mu
	var mu sync.Mutex
	var running sync.WaitGroup
	for range clients {
		running.Go(func() {
			for range next {
				at := time.Since(began)
				mu.Lock()
				given = append(given, at)
				mu.Unlock()
				time.Sleep(takes(at))
			}
		})
	}
	_ = beat(every, next, loaded) // that of the load
	close(next)
	running.Wait()
	return given
}
