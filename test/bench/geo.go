package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"geogate/cmd/bench"
)

// geoDCs is how many datacenters `--geo` measures.
const geoDCs = 3

const (
	quorum = "QUORUM"
	async  = "ASYNC"
)

// calmDown is how long nodes may work on their start before they count as idle.
const calmDown = 5 * time.Second

// flowClients write as fast as they can while the lag is measured.
const flowClients = 256

// Markers are put so often beside a load, and so often where they are the load.
const (
	beside = 10 * time.Millisecond
	steady = time.Millisecond
)

// geo measures three datacenters, and etcd's make-mirror in the same run.
func (r *runner) geo(ctx context.Context, dir string) (err error) {
	g, err := startRegion(ctx, r.cfg.Geogate, dir, geoDCs, r.cfg.Nodes)
	if err != nil {
		return fmt.Errorf("start %d datacenters: %w", geoDCs, err)
	}
	defer func() { err = errors.Join(err, g.Stop()) }()
	r.progress("%d datacenters of %d nodes are up", geoDCs, r.cfg.Nodes)
	for _, step := range []func(context.Context, *region) error{
		r.idle, r.distant, r.crowd, r.near, r.flow, r.rhythm,
		func(ctx context.Context, g *region) error { return r.price(ctx, g, dir) },
		r.volume, r.catchUp,
	} {
		if err := step(ctx, g); err != nil {
			return err
		}
	}
	if !slices.Contains(r.cfg.Sides, sideEtcd) {
		return nil
	}
	// The datacenters rest meanwhile, as etcd has done: what they cost at rest is a line of the table.
	return r.mirrored(ctx, dir)
}

func (r *runner) add(row geoRow) {
	r.report.Geo = append(r.report.Geo, row)
	if row.Errors > 0 {
		r.warn("%s, %s: %.0f operations failed", row.Case, row.Side, row.Errors)
	}
	r.progress("%-40s %-8s %8.0f/s  p99 %8.2f ms  lag p99 %8.1f ms  %s", row.Case, row.Side, row.Rate, row.P99, row.LagP99, row.other())
}

// idle is what the first datacenter costs when nobody writes.
func (r *runner) idle(ctx context.Context, g *region) error {
	if err := pause(ctx, min(r.cfg.Idle, calmDown)); err != nil {
		return err
	}
	before, err := usage(g.dcs[0])
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := pause(ctx, r.cfg.Idle); err != nil {
		return err
	}
	after, err := usage(g.dcs[0])
	if err != nil {
		return err
	}
	cpu := (after.CPUSeconds - before.CPUSeconds) / time.Since(begin).Seconds()
	r.add(geoRow{Case: fmt.Sprintf("idle, %d nodes, %d peers", r.cfg.Nodes, geoDCs-1), Side: g.name(0), Core: 100 * cpu})
	return nil
}

// distant is QUORUM over a WAN, from each datacenter in turn.
func (r *runner) distant(ctx context.Context, g *region) error {
	if err := g.delay(ctx, r.cfg.RTT); err != nil {
		return err
	}
	e, err := startEcho(r.cfg.RTT)
	if err != nil {
		return err
	}
	defer e.Close()
	for _, clients := range r.cfg.QuorumClients {
		for i, d := range g.dcs {
			if err := r.wait(ctx, g.name(i), d, testCase{Op: opPut, Clients: clients, Policy: quorum}, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// wait measures puts that wait for another datacenter.
func (r *runner) wait(ctx context.Context, name string, d *geogate, c testCase, e *echo) error {
	m, err := r.measure(ctx, name, d, c)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", name, c, err)
	}
	r.add(r.waited(r.overWAN(c.Policy), name, c.Clients, m, e))
	return nil
}

func (r *runner) overWAN(policy string) string {
	return fmt.Sprintf("put %s, RTT %s", policy, r.cfg.RTT)
}

// waited compares a rate with that of clients who wait a round trip each time, by the round trip time that was asked for.
// That of the echo stands beside it.
func (r *runner) waited(name, where string, clients int, m sample, e *echo) geoRow {
	row := rowOf(name, where, clients, m)
	row.OfBound = m.Rate * r.cfg.RTT.Seconds() / float64(clients)
	row.RTTP50, row.RTTP99 = e.during(m.loaded)
	return row
}

// crowd has many clients write in all datacenters at once.
func (r *runner) crowd(ctx context.Context, g *region) error {
	e, err := startEcho(r.cfg.RTT)
	if err != nil {
		return err
	}
	defer e.Close()
	samples, err := leastStolen(r, func() ([]sample, float64, error) {
		samples := make([]sample, len(g.dcs))
		group, gctx := errgroup.WithContext(ctx)
		for i, d := range g.dcs {
			group.Go(func() (err error) {
				samples[i], _, err = measure(gctx, r.cfg, d, testCase{Op: opPut, Clients: r.cfg.Crowd, Policy: quorum})
				return err
			})
		}
		err := group.Wait()
		return samples, together(samples).Steal, err
	})
	if err != nil {
		return fmt.Errorf("%d clients in each datacenter: %w", r.cfg.Crowd, err)
	}
	name := r.overWAN(quorum) + ", all at once"
	for i, m := range samples {
		r.add(r.waited(name, g.name(i), r.cfg.Crowd, m, e))
	}
	r.add(r.waited(name, "all", r.cfg.Crowd*len(samples), together(samples), e))
	return nil
}

// together is what loads were that ran at the same time: the sum of their rates, and the machine as all of them had it.
// There is no percentile of all.
func together(samples []sample) sample {
	all := sample{loaded: samples[0].loaded}
	for _, m := range samples {
		all.Rate += m.Rate
		all.Busy += m.Busy / float64(len(samples))
		all.Steal += m.Steal / float64(len(samples))
		all.loaded = all.loaded.join(m.loaded)
	}
	return all
}

// near takes the delay away.
func (r *runner) near(ctx context.Context, g *region) error { return g.delay(ctx, 0) }

// flow writes as fast as one datacenter can, without waiting for others.
func (r *runner) flow(ctx context.Context, g *region) error {
	return r.traced(ctx, "put ASYNC at full speed", g.name(0)+" to "+g.name(1), g.dcs[0], g.dcs[1].Endpoints(), async)
}

// mirrored does the same with etcd.
func (r *runner) mirrored(ctx context.Context, dir string) (err error) {
	m, err := startMirror(ctx, dir, r.cfg.Nodes)
	if err != nil {
		return fmt.Errorf("start a mirror: %w", err)
	}
	defer func() { err = errors.Join(err, m.Stop()) }()
	if err := r.traced(ctx, "put at full speed, make-mirror", sideEtcd, m.from, m.to.Endpoints(), ""); err != nil {
		return err
	}
	return r.steadily(ctx, "make-mirror", sideEtcd, m.from, m.to.Endpoints(), "")
}

func (r *runner) traced(ctx context.Context, name, where string, from server, to []string, policy string) error {
	leader, err := findLeader(ctx, from.Endpoints())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	args := loadArgs(testCase{Op: opPut, Clients: flowClients, Policy: policy}, targets(from.Endpoints(), leader, r.cfg.Target), r.cfg)
	type result struct {
		bench.Result
		lags
	}
	both, err := leastStolen(r, func() (result, float64, error) {
		var m bench.Result
		l, err := trace(ctx, from.Endpoints(), to, policy, beside, func(ctx context.Context) (err error) {
			m, _, err = load(ctx, r.cfg.Loader, args)
			return err
		})
		return result{m, l}, l.Steal, err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	m, l := both.Result, both.lags
	row := geoRow{Case: name, Side: where, Clients: flowClients, Rate: m.Rate, P50: m.P50, P99: m.P99, Errors: float64(m.Errors)}
	r.lagged(&row, l)
	if l.Lost == 0 {
		row.Replicated = float64(m.Total-m.Errors) / (m.Seconds + l.Tail.Seconds())
	}
	r.add(row)
	return nil
}

// rhythm is the lag under a load that leaves room.
func (r *runner) rhythm(ctx context.Context, g *region) error {
	return r.steadily(ctx, async, g.name(0)+" to "+g.name(1), g.dcs[0], g.dcs[1].Endpoints(), async)
}

func (r *runner) steadily(ctx context.Context, name, where string, from server, to []string, policy string) error {
	l, err := leastStolen(r, func() (lags, float64, error) {
		l, err := trace(ctx, from.Endpoints(), to, policy, steady, func(ctx context.Context) error { return pause(ctx, r.cfg.Duration) })
		return l, l.Steal, err
	})
	if err != nil {
		return fmt.Errorf("steady writes, %s: %w", name, err)
	}
	row := geoRow{Case: fmt.Sprintf("up to %d writes/s, %s", time.Second/steady, name), Side: where, Rate: l.Rate}
	r.lagged(&row, l)
	r.add(row)
	return nil
}

func (r *runner) lagged(row *geoRow, l lags) {
	row.LagP50, row.LagP99, row.Busy, row.Steal = l.P50, l.P99, l.Busy, l.Steal
	if l.Lost > 0 {
		r.warn("%s, %s: %d of %d markers had not arrived %s after the load; lags are of the others", row.Case, row.Side, l.Lost, l.Markers, drainTimeout)
	}
}

// printGeo prints what was measured of several datacenters, if anything was.
func (r *report) printGeo(out io.Writer) error {
	if len(r.Geo) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(out, "\n%d datacenters: geogate %s / etcd %s\n\n%s\n", geoDCs, orMissing(r.Versions[sideGeogate]), orMissing(r.Versions[sideEtcd]), geoTable(r.Geo))
	return err
}
