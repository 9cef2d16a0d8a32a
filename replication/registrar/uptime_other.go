//go:build !linux

package registrar

import "time"

// newUptime is Go's own monotonic clock. Where it stands still in suspend, the machine of a home must not be suspended.
func newUptime() func() time.Duration {
	began := time.Now()
	return func() time.Duration { return time.Since(began) }
}
