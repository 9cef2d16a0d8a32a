//go:build !linux

package dev

import "time"

// alarm rings when Go's timers do, which may be a millisecond late here.
type alarm struct{}

func newAlarm() *alarm { return &alarm{} }

func (*alarm) in(d time.Duration) <-chan time.Time { return time.After(d) }

func (*alarm) close() {}
