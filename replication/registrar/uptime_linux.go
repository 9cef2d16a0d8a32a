package registrar

import (
	"time"

	"golang.org/x/sys/unix"
)

// newUptime reads CLOCK_BOOTTIME, which goes on while the machine is suspended; CLOCK_MONOTONIC, which Go's time has,
// stands still, and a home that slept would believe in its lease.
func newUptime() func() time.Duration {
	return func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			panic("registrar: CLOCK_BOOTTIME can't be read: " + err.Error()) // Linux has it since 2.6.39
		}
		return time.Duration(ts.Nano())
	}
}
