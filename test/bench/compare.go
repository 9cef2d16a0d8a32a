package main

import (
	"context"
	"errors"
	"fmt"
)

// side is a server under the name that it has in the report.
type side struct {
	name string
	server
}

// compare measures all sides in all cases. What was measured before an error is in the comparison.
func (r *runner) compare(ctx context.Context, c *comparison, sides []side) error {
	for _, s := range sides {
		c.Sides = append(c.Sides, s.name)
		if err := r.prepare(ctx, s); err != nil {
			return err
		}
	}
	if r.cfg.WorkPuts > 0 {
		work := testCase{Op: opPut, Clients: workClients, Total: r.cfg.WorkPuts}
		if err := r.rounds(ctx, c, sides, []testCase{work}, 1); err != nil {
			return err
		}
	}
	return r.rounds(ctx, c, sides, r.cfg.cases(), r.cfg.Rounds)
}

// prepare has the load generator put the keys that it will read, so that no measurement includes that.
func (r *runner) prepare(ctx context.Context, s side) error {
	if s.name == sideNATS {
		return nil // is never read
	}
	fill := testCase{Op: opRange, Clients: workClients, Total: workClients}
	if _, _, err := measure(ctx, r.cfg, s, fill); err != nil {
		return fmt.Errorf("%s: put the first keys: %w", s.name, err)
	}
	return nil
}

// rounds measures cases some times and adds them to the comparison.
func (r *runner) rounds(ctx context.Context, c *comparison, sides []side, cases []testCase, rounds int) error {
	results := make([]*caseResult, len(cases))
	for i, tc := range cases {
		results[i] = &caseResult{testCase: tc, Samples: map[string][]sample{}}
		c.Cases = append(c.Cases, results[i])
	}
	for round := range rounds {
		for i, tc := range cases {
			for _, s := range inTurn(sides, round) {
				if s.name == sideNATS && tc.Op != opPut {
					continue
				}
				m, err := r.measure(ctx, s.name, s, tc)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", s.name, tc, err)
				}
				results[i].Samples[s.name] = append(results[i].Samples[s.name], m)
				r.progress("round %d of %d: %-24s %-8s %8.0f/s  p50 %8.3f ms  p99 %8.3f ms", round+1, rounds, tc, s.name, m.Rate, m.P50, m.P99)
			}
			results[i].finish()
		}
	}
	return nil
}

// measure runs one case against one side, again if it was disturbed: but for a fixed amount of work, which is measured on servers
// that have done nothing else.
func (r *runner) measure(ctx context.Context, name string, s server, tc testCase) (sample, error) {
	one := func() (sample, float64, error) {
		m, moved, err := measure(ctx, r.cfg, s, tc)
		r.judge(name, tc, m, moved)
		return m, m.Steal, err
	}
	if tc.Total > 0 {
		m, _, err := one()
		return m, err
	}
	return leastStolen(r, one)
}

// judge warns of what a median may hide.
func (r *runner) judge(name string, tc testCase, m sample, moved bool) {
	if m.Errors > 0 {
		r.warn("%s, %s: %.0f of %.0f operations failed", name, tc, m.Errors, m.Operations)
	}
	if moved {
		r.warn("%s, %s: another node led at the end than at the start", name, tc)
	}
}

func (r *runner) warn(format string, args ...any) {
	r.report.Warnings = append(r.report.Warnings, fmt.Sprintf(format, args...))
}

// start starts the wanted sides with so many nodes each.
func (r *runner) start(ctx context.Context, dir string, nodes int) (sides []side, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, stop(sides))
			sides = nil
		}
	}()
	for _, name := range r.cfg.Sides {
		if name == sideNATS && nodes != natsServers {
			continue
		}
		var s server
		switch name {
		case sideEtcd:
			s, err = startEtcd(ctx, dir, nodes)
		case sideGeogate:
			s, err = startGeogate(ctx, r.cfg.Geogate, dir, nodes)
		case sideNATS:
			s, err = startNATS(ctx, dir)
		case sideCeiling:
			s, err = startCeiling(r.cfg.ValueBytes)
		}
		if err != nil {
			return sides, fmt.Errorf("start %s: %w", name, err)
		}
		r.progress("%s is up at %v", name, s.Endpoints())
		sides = append(sides, side{name: name, server: s})
	}
	return sides, nil
}

func stop(sides []side) error {
	var errs []error
	for _, s := range sides {
		errs = append(errs, s.Stop())
	}
	return errors.Join(errs...)
}
