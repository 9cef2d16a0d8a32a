package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/jedib0t/go-pretty/v6/table"
)

// growthRow is one point of a curve: everything at its base but what the axis says.
type growthRow struct {
	Axis       string  `json:"axis"`
	X          float64 `json:"x"` // on the axis
	DCs        int     `json:"dcs"`
	Nodes      int     `json:"nodes"`
	Keys       int     `json:"keys"` // that were there before the load, which adds up to 10,000 more
	ValueBytes int     `json:"value_bytes"`
	Rate       float64 `json:"ops_per_second"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	RSS        float64 `json:"rss_bytes_per_node"` // after the load, mean of all nodes of all datacenters
	DB         float64 `json:"db_bytes"`           // of the node that leads where the load is
	Errors     float64 `json:"errors,omitempty"`
}

// The axes.
const (
	axisKeys   = "keys"
	axisDCs    = "datacenters"
	axisNodes  = "nodes"
	axisValues = "value bytes"
)

// The base from which one thing grows at a time.
const (
	baseDCs     = 1
	baseKeys    = 10_000
	baseNodes   = 3
	baseValue   = 256
	growClients = 64
	// alone is how many nodes a datacenter has where their number of datacenters grows: all share this machine.
	alone = 1
	// maxFill bounds the bytes put before the load of large values, so that they don't fill the disk; rows say what was.
	maxFill = 512 << 20
)

// points are what --growth measures, in order.
func (c *Config) points() (out []growthRow) {
	add := func(axis string, values []int, change func(*growthRow, int)) {
		for _, v := range values {
			p := growthRow{Axis: axis, X: float64(v), DCs: baseDCs, Nodes: baseNodes, Keys: min(baseKeys, c.GrowthKeys[0]), ValueBytes: baseValue}
			change(&p, v)
			out = append(out, p)
		}
	}
	add(axisKeys, c.GrowthKeys, func(p *growthRow, v int) { p.Keys = v })
	add(axisDCs, c.GrowthDCs, func(p *growthRow, v int) { p.DCs, p.Nodes = v, alone })
	add(axisNodes, c.GrowthNodes, func(p *growthRow, v int) { p.Nodes = v })
	add(axisValues, c.GrowthValues, func(p *growthRow, v int) {
		p.ValueBytes, p.Keys = v, max(1, min(p.Keys, maxFill/v))
	})
	return out
}

// growth measures every point on datacenters of its own.
func (r *runner) growth(ctx context.Context, dir string) error {
	for _, p := range r.cfg.points() {
		row, err := r.grown(ctx, filepath.Join(dir, fmt.Sprintf("%s-%.0f", p.Axis, p.X)), p)
		if err != nil {
			return fmt.Errorf("%s %.0f: %w", p.Axis, p.X, err)
		}
		r.report.Growth = append(r.report.Growth, row)
		if row.Errors > 0 {
			r.warn("%s %.0f: %.0f operations failed", row.Axis, row.X, row.Errors)
		}
		r.progress("%-12s %9.0f %8.0f/s  p99 %8.2f ms  RSS per node %6.0f MiB", row.Axis, row.X, row.Rate, row.P99, row.RSS/(1<<20))
	}
	return nil
}

func (r *runner) grown(ctx context.Context, dir string, p growthRow) (_ growthRow, err error) {
	// What was measured is in the report: the next point needs the disk.
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	g, err := startRegion(ctx, r.cfg.Geogate, dir, p.DCs, p.Nodes)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, g.Stop()) }()
	const prefix = "/grow/"
	if _, err := write(ctx, g.dcs[0].Endpoints(), prefix, async, p.Keys, p.ValueBytes, jsonValue); err != nil {
		return p, err
	}
	for _, d := range g.dcs {
		if err := arrived(ctx, d.Endpoints(), prefix, p.Keys); err != nil {
			return p, err
		}
	}
	cfg := *r.cfg
	cfg.ValueBytes = p.ValueBytes
	c := testCase{Op: opPut, Clients: growClients, Policy: async}
	m, moved, err := measure(ctx, &cfg, g.dcs[0], c)
	if err != nil {
		return p, err
	}
	r.judge(fmt.Sprintf("%s %.0f", p.Axis, p.X), c, sample{}, moved)
	p.Rate, p.P50, p.P99, p.Errors = m.Rate, m.P50, m.P99, m.Errors
	if p.RSS, err = g.rss(); err != nil {
		return p, err
	}
	p.DB, err = databaseBytes(ctx, g.dcs[0].Endpoints())
	return p, err
}

// rss is the memory of a node now, on average.
func (g *region) rss() (float64, error) {
	sum, n := 0.0, 0
	for _, d := range g.dcs {
		u, err := usage(d)
		if err != nil {
			return 0, err
		}
		sum += float64(u.RSSBytes)
		n += len(d.nodes)
	}
	return sum / float64(n), nil
}

// databaseBytes is the size of the leader's database by etcd's own Status.
func databaseBytes(ctx context.Context, endpoints []string) (float64, error) {
	leader, err := findLeader(ctx, endpoints)
	if err != nil {
		return 0, err
	}
	cl, err := connect(endpoints)
	if err != nil {
		return 0, err
	}
	defer func() { _ = cl.Close() }() // only asked
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	st, err := cl.Status(ctx, endpoints[leader])
	if err != nil {
		return 0, fmt.Errorf("size of the database at %s: %w", endpoints[leader], err)
	}
	return float64(st.DbSize), nil
}

// printGrowth prints the points, if there are any.
func (r *report) printGrowth(out io.Writer) error {
	if len(r.Growth) == 0 {
		return nil
	}
	t := table.NewWriter()
	t.AppendHeader(table.Row{"grows", "datacenters", "nodes", "keys", "value bytes", "puts/s", "p50 ms", "p99 ms", "RSS per node MiB", "database MiB"})
	for _, p := range r.Growth {
		t.AppendRow(table.Row{
			p.Axis, p.DCs, p.Nodes, p.Keys, p.ValueBytes, fmt.Sprintf("%.0f", p.Rate), fmt.Sprintf("%.2f", p.P50), fmt.Sprintf("%.2f", p.P99),
			fmt.Sprintf("%.0f", p.RSS/(1<<20)), fmt.Sprintf("%.1f", p.DB/(1<<20)),
		})
	}
	_, err := fmt.Fprintf(out, "\ngeogate %s, %d clients put ASYNC into one datacenter:\n\n%s\n", orMissing(r.Versions[sideGeogate]), growClients, t.RenderMarkdown())
	return err
}

// draw has the module of the plotting library draw the JSON file.
func draw(ctx context.Context, report, svg string) error {
	module, err := plotModule()
	if err != nil {
		return err
	}
	if report, err = filepath.Abs(report); err != nil {
		return err
	}
	if svg, err = filepath.Abs(svg); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "run", "-C", module, ".", report, svg)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("draw %s: %w\n%s", svg, err, out)
	}
	return nil
}

// plotModule is where the source tree has it, from the current folder upwards.
func plotModule() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoPlot, err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		module := filepath.Join(dir, "test", "tools", "plot")
		if _, err := os.Stat(filepath.Join(module, "go.mod")); err == nil {
			return module, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%w in %s or above it; run it from a checkout", errNoPlot, start)
		}
	}
}
