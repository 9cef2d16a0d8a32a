package main

import (
	"errors"
	"testing"
)

func TestLeastStolen(t *testing.T) {
	failed := errors.New("failed")
	for name, c := range map[string]struct {
		steals []float64
		fails  int // the call that fails, from 1
		want   int // the call that counts, from 1
		calls  int
	}{
		"quiet":                        {[]float64{0.05, 0}, 0, 1, 1},
		"quiet the second time":        {[]float64{0.3, 0.01, 0}, 0, 2, 2},
		"never quiet, the first least": {[]float64{0.06, 0.2, 0.3, 0}, 0, 1, maxTries},
		"never quiet, the last least":  {[]float64{0.3, 0.4, 0.2, 0}, 0, 3, maxTries},
		"fails at once":                {[]float64{0.3}, 1, 1, 1},
		"fails the second time":        {[]float64{0.3, 0}, 2, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			r := &runner{report: &report{}}
			calls := 0
			got, err := leastStolen(r, func() (int, float64, error) {
				calls++
				if calls == c.fails {
					return calls, 0, failed
				}
				return calls, c.steals[calls-1], nil
			})
			if errors.Is(err, failed) != (c.fails > 0) {
				t.Fatalf("error %v, want one: %t", err, c.fails > 0)
			}
			if got != c.want && c.fails == 0 || calls != c.calls || r.report.Repeated != c.calls-1 {
				t.Errorf("measurement %d of %d counts, %d are said to be repeated; want %d of %d", got, calls, r.report.Repeated, c.want, c.calls)
			}
		})
	}
}
