package main

import (
	"context"
	"errors"
	"fmt"
)

// price is what replication costs the servers: ASYNC puts per second of their CPU time, of a datacenter without peers
// and of one with two. CPU time and not puts per second, because all datacenters share one machine here.
func (r *runner) price(ctx context.Context, g *region, dir string) error {
	alone, err := r.alone(ctx, dir)
	if err != nil {
		return fmt.Errorf("a datacenter without peers: %w", err)
	}
	peers := g.dcs[1:]
	before, err := usageOfAll(peers)
	if err != nil {
		return err
	}
	c := testCase{Op: opPut, Clients: flowClients, Policy: async}
	m, moved, err := measure(ctx, r.cfg, g.dcs[0], c)
	if err != nil {
		return fmt.Errorf("%d peers: %w", len(peers), err)
	}
	if err := r.level(ctx, g); err != nil {
		return err
	}
	after, err := usageOfAll(peers)
	if err != nil {
		return err
	}
	r.judge(g.name(0), c, sample{}, moved)
	row := r.priced(fmt.Sprintf("put ASYNC, %d peers", len(peers)), g.name(0), m)
	row.PerCPUAll = (m.Operations - m.Errors) / ((m.Operations-m.Errors)/row.PerCPU + after - before)
	row.OfAlone = row.PerCPU / alone.PerCPU
	r.add(row)
	return nil
}

// alone measures a datacenter that has no peers, and stops it again.
func (r *runner) alone(ctx context.Context, dir string) (row geoRow, err error) {
	d, err := startGeogate(ctx, r.cfg.Geogate, dir, r.cfg.Nodes)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, d.Stop()) }()
	m, moved, err := measure(ctx, r.cfg, d, testCase{Op: opPut, Clients: flowClients, Policy: async})
	if err != nil {
		return row, err
	}
	if moved {
		r.warn("put ASYNC, no peers: the leader changed")
	}
	row = r.priced("put ASYNC, no peers", datacenter, m)
	r.add(row)
	return row, nil
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
