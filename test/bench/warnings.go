package main

import (
	"fmt"
	"slices"
)

// Shares of all cores above which a measurement says as much about the machine as about the server.
const (
	muchOther = 0.10
	muchSteal = 0.05
)

// disturbances say, in a line each, how much of the machine the measurements did not have.
func disturbances(comparisons []*comparison) []string {
	var other, steal []float64
	for _, c := range comparisons {
		for _, r := range c.Cases {
			for _, samples := range r.Samples {
				for _, s := range samples {
					other, steal = append(other, s.OtherCPU), append(steal, s.Steal)
				}
			}
		}
	}
	var out []string
	for _, d := range []struct {
		what   string
		shares []float64
		limit  float64
	}{
		{"other programs used", other, muchOther},
		{"the hypervisor took away", steal, muchSteal},
	} {
		n := 0
		for _, s := range d.shares {
			if s > d.limit {
				n++
			}
		}
		if n > 0 {
			out = append(out, fmt.Sprintf("%s more than %.0f %% of all cores in %d of %d measurements (median of all %.0f %%, most %.0f %%): "+
				"repeat this on an idle machine", d.what, 100*d.limit, n, len(d.shares), 100*median(d.shares), 100*slices.Max(d.shares)))
		}
	}
	return out
}
