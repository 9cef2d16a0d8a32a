package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// price is what replication costs the servers: ASYNC puts per second of their CPU time, of a datacenter without peers
// and of one with two, in turn. CPU time and not puts per second, because all datacenters share one machine here.
func (r *runner) price(ctx context.Context, g *region, dir string) (err error) {
	single, err := startGeogate(ctx, r.cfg.Geogate, dir, r.cfg.Nodes)
	if err != nil {
		return fmt.Errorf("a datacenter without peers: %w", err)
	}
	defer func() { err = errors.Join(err, single.Stop()) }()
	var alone, together []sample
	var shares, all []float64 // of each round: together by alone, and puts by the CPU time of all
	for i := range r.cfg.Rounds {
		a, t, elsewhere, err := r.priceRound(ctx, g, single, i%2 == 1)
		if err != nil {
			return fmt.Errorf("put ASYNC without and with peers, round %d: %w", i+1, err)
		}
		alone, together = append(alone, a), append(together, t)
		shares = append(shares, a.CPUMicros/t.CPUMicros)
		all = append(all, 1e6/(t.CPUMicros+elsewhere))
	}
	r.add(r.priced("put ASYNC, no peers", datacenter, medians(alone)))
	row := r.priced(fmt.Sprintf("put ASYNC, %d peers", len(g.dcs)-1), g.name(0), medians(together))
	row.PerCPUAll, row.OfAlone = median(all), median(shares)
	r.add(row)
	return nil
}

// priceRound measures both once, and what a put costs at the peers, in microseconds of their CPU time.
func (r *runner) priceRound(ctx context.Context, g *region, single *geogate, swapped bool) (alone, together sample, elsewhere float64, err error) {
	c := testCase{Op: opPut, Clients: flowClients, Policy: async}
	without := func() (err error) {
		alone, err = r.measure(ctx, "no peers", single, c)
		return err
	}
	type both struct {
		sample
		elsewhere float64
	}
	with := func() error {
		m, err := leastStolen(r, func() (both, float64, error) {
			peers := g.dcs[1:]
			before, err := usageOfAll(peers)
			if err != nil {
				return both{}, 0, err
			}
			m, moved, err := measure(ctx, r.cfg, g.dcs[0], c)
			if err != nil {
				return both{}, 0, err
			}
			r.judge(g.name(0), c, m, moved)
			if err := r.level(ctx, g); err != nil {
				return both{}, 0, err
			}
			after, err := usageOfAll(peers)
			return both{m, 1e6 * (after - before) / (m.Operations - m.Errors)}, m.Steal, err
		})
		together, elsewhere = m.sample, m.elsewhere
		return err
	}
	steps := []func() error{without, with}
	if swapped {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return alone, together, 0, err
		}
	}
	return alone, together, elsewhere, nil
}

func (r *runner) priced(name, where string, m sample) geoRow {
	row := rowOf(name, where, flowClients, m)
	row.PerCPU = 1e6 / m.CPUMicros
	return row
}

// level waits until all datacenters have what the first has committed.
func (r *runner) level(ctx context.Context, g *region) error {
	head, err := revisionOf(ctx, g, 0, 0)
	if err != nil {
		return err
	}
	for i := range g.dcs[1:] {
		admin, err := g.dcs[i+1].leaderAdmin(ctx)
		if err != nil {
			return err
		}
		if _, err := follow(ctx, admin, g.name(0), head); err != nil {
			return err
		}
	}
	return nil
}

// usageOfAll is the CPU time of all nodes of some datacenters so far, in seconds.
func usageOfAll(dcs []*geogate) (sum float64, err error) {
	for _, d := range dcs {
		u, err := usage(d)
		if err != nil {
			return 0, err
		}
		sum += u.CPUSeconds
	}
	return sum, nil
}
