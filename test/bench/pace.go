package main

import (
	"context"
	"time"

	limit "golang.org/x/time/rate" // rate is a column of the table
)

// beat gives clients a marker each interval until the load has ended, and returns how that ended. What comes due while no
// client is free, or this program gets no core, is put later, up to one marker for each client, and else never: a stall is not followed
// by a flood.
func beat(every time.Duration, clients chan<- int, loaded <-chan error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- <-loaded
		cancel()
	}()
	due := limit.NewLimiter(limit.Every(every), markerClients)
	due.AllowN(time.Now(), markerClients) // at the beginning nothing is late
	for n := 0; due.Wait(ctx) == nil; n++ {
		select {
		case clients <- n:
		case <-ctx.Done():
		}
	}
	return <-ended
}
