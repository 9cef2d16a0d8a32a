package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"geogate/test/etcdbin"
)

// runner is one run of this program.
type runner struct {
	cfg      *Config
	report   *report
	progress func(format string, args ...any)
}

// run measures everything that cfg asks for, prints the tables to out and writes the files.
func run(ctx context.Context, cfg *Config, out io.Writer, progress func(format string, args ...any)) (err error) {
	dir, err := os.MkdirTemp(cfg.Dir, "geogate-bench-*")
	if err != nil {
		return fmt.Errorf("make a folder for the servers' data: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	r := &runner{cfg: cfg, progress: progress}
	if r.report, err = newReport(ctx, cfg, dir); err != nil {
		return err
	}
	if err := r.measureAll(ctx, dir); err != nil {
		return err
	}
	if n := r.report.Repeated; n > 0 {
		r.warn("%d measurements were made again because the hypervisor took more than %.0f %% of all cores; those that it disturbed least count", n, 100*muchSteal)
	}
	r.report.Warnings = append(r.report.Warnings, disturbances(r.report.Comparisons)...)
	r.report.Seconds = time.Since(r.report.Started).Seconds()
	if cfg.JSON != "" {
		if err := r.report.write(cfg.JSON); err != nil {
			return err
		}
	}
	if cfg.Plot != "" {
		if err := draw(ctx, cfg.JSON, cfg.Plot); err != nil {
			return err
		}
	}
	return r.report.print(out)
}

func (r *runner) measureAll(ctx context.Context, dir string) error {
	if r.cfg.Geo {
		return r.geo(ctx, dir)
	}
	if r.cfg.Growth {
		return r.growth(ctx, dir)
	}
	for _, nodes := range groups(r.cfg) {
		if err := r.group(ctx, dir, nodes); err != nil {
			return err
		}
	}
	return nil
}

// groups are the numbers of nodes to compare.
func groups(cfg *Config) []int {
	if cfg.Single {
		return []int{3, 1}
	}
	return []int{3}
}

// group starts the servers of one comparison, measures them and stops them.
func (r *runner) group(ctx context.Context, dir string, nodes int) (err error) {
	sides, err := r.start(ctx, dir, nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(sides)) }()
	c := &comparison{Name: name(nodes)}
	r.report.Comparisons = append(r.report.Comparisons, c)
	if err := r.compare(ctx, c, sides); err != nil {
		return err
	}
	if r.cfg.Profile == "" || nodes == 1 {
		return nil
	}
	for _, s := range sides {
		if g, ok := s.server.(*geogate); ok {
			return r.profile(ctx, g)
		}
	}
	return nil
}

func name(nodes int) string {
	if nodes == 1 {
		return "one node against one member"
	}
	return fmt.Sprintf("%d nodes against %d members", nodes, nodes)
}

func newReport(ctx context.Context, cfg *Config, dir string) (*report, error) {
	m, err := describeMachine(dir)
	if err != nil {
		return nil, err
	}
	versions := map[string]string{}
	if slices.Contains(cfg.Sides, sideEtcd) && !cfg.Growth {
		path, err := etcdbin.Etcd(ctx) // built before the clock runs
		if err != nil {
			return nil, err
		}
		if versions[sideEtcd], err = etcdbin.Version(path); err != nil {
			return nil, err
		}
	}
	if slices.Contains(cfg.Sides, sideNATS) && !cfg.Geo && !cfg.Growth {
		var err error
		if versions[sideNATS], err = natsVersion(ctx); err != nil {
			return nil, err
		}
	}
	if slices.Contains(cfg.Sides, sideGeogate) {
		versions[sideGeogate] = commit(ctx)
	}
	return &report{
		Command: commandLine(), Started: time.Now(), Machine: m, Versions: versions,
		Rounds: cfg.Rounds, Duration: cfg.Duration.Seconds(), ValueBytes: cfg.ValueBytes, Target: cfg.Target,
	}, nil
}
