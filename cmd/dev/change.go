package dev

import (
	"fmt"
	"strings"
	"time"

	"geogate/configs"
)

// Change is what to do to a link; what is nil stays.
type Change struct {
	Cut       *bool
	RTT       *time.Duration
	Bandwidth *configs.Bytes
}

// ParseChange reads the words cut, heal, rtt=60ms and bandwidth=10MB. Zero takes a limit away.
func ParseChange(words []string) (Change, error) {
	var c Change
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		switch {
		case w == "cut" || w == "heal":
			cut := w == "cut"
			c.Cut = &cut
		case name == "rtt":
			d, err := time.ParseDuration(value)
			if err != nil || d < 0 {
				return c, fmt.Errorf("%q: the round trip time %q is not a duration such as 60ms", w, value)
			}
			c.RTT = &d
		case name == "bandwidth":
			b, err := configs.ParseBytes(value)
			if err != nil {
				return c, fmt.Errorf("%q: the bandwidth per second: %w", w, err)
			}
			c.Bandwidth = &b
		default:
			return c, fmt.Errorf("%q is no change of a link; use cut, heal, rtt=60ms or bandwidth=10MB", w)
		}
	}
	if c == (Change{}) {
		return c, fmt.Errorf("no change; use cut, heal, rtt=60ms or bandwidth=10MB")
	}
	return c, nil
}
