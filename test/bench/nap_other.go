//go:build !linux

package main

import "time"

// nap sleeps as exactly as Go's timers do.
type nap struct{}

func newNap() *nap { return &nap{} }

func (*nap) take(d time.Duration) { time.Sleep(d) }

func (*nap) close() {}
