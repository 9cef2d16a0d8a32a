package main

import "time"

// beat gives clients a marker each interval until the load has ended, and returns how that ended. It goes by the time since
// the beginning and not by ticks, some of which a busy machine drops: each tick gives what is due by then. What no client
// is free for stays due.
func beat(every time.Duration, clients chan<- int, loaded <-chan error) error {
	began := time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	next := 0
	for {
		select {
		case err := <-loaded:
			return err
		case <-tick.C:
			var end int
			next, end = due(next, time.Since(began), every)
			next = give(clients, next, end)
		}
	}
}

// due are the markers from first to before end that are to be put after so long, next being the first that was not given:
// marker n is due after n+1 intervals. Of more than markerClients only the last ones are left, so that a stall is followed
// by one put of each client at most and not by a flood.
func due(next int, since, every time.Duration) (first, end int) {
	end = int(since / every)
	return max(next, end-markerClients), end
}

// give hands out markers while a client is free, and is the first one that it kept.
func give(clients chan<- int, next, end int) int {
	for ; next < end; next++ {
		select {
		case clients <- next:
		default: // all of them wait for answers
			return next
		}
	}
	return next
}
