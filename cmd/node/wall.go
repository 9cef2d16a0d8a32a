//go:build !faults

package node

import (
	"log/slog"
	"time"
)

// wallClock is the clock that stamps are taken from.
func wallClock(now func() time.Time, _ string, _ *slog.Logger) func() time.Time { return now }

// uptime is the clock of a home's lease; nil is the operating system's.
func uptime(string, *slog.Logger) func() time.Duration { return nil }
