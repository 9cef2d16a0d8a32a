package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
)

const missing = "-"

// print writes the report as Markdown.
func (r *report) print(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s`, %s, %.0f s\n\n", strings.Join(r.Command, " "), r.Started.UTC().Format("2006-01-02 15:04 MST"), r.Seconds)
	fmt.Fprintf(&b, "%s, %d cores shared by servers and clients, kernel %s, fsync of 4 KiB %.0f us, load average %.2f at the start; "+
		"%s%s of %.3g s; clients at %s.\n",
		r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.FsyncMicros, r.Machine.LoadAverage,
		r.values(), r.times(), r.Duration, where(r.Target))
	for _, c := range r.Comparisons {
		fmt.Fprintf(&b, "\n%s: etcd %s / geogate %s\n\n%s\n", c.Name, orMissing(r.Versions[sideEtcd]), orMissing(r.Versions[sideGeogate]), c.table())
	}
	for _, c := range r.Comparisons {
		if slices.Contains(c.Sides, sideNATS) {
			fmt.Fprintf(&b, "\nJetStream KV of nats-server %s, R3, sync_interval: always, on %d servers. Its clients speak NATS, not gRPC:\n\n%s\n",
				r.Versions[sideNATS], natsServers, c.natsTable())
		}
	}
	if err := r.printGeo(&b); err != nil {
		return err
	}
	if err := r.printGrowth(&b); err != nil {
		return err
	}
	if len(r.Warnings) > 0 {
		b.WriteString("\nWarnings:\n")
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "* %s\n", w)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// values says how long they are, where all are equal.
func (r *report) values() string {
	if len(r.Growth) > 0 {
		return ""
	}
	return fmt.Sprintf("values of %d bytes; ", r.ValueBytes)
}

// times says what a figure is of.
func (r *report) times() string {
	if len(r.Comparisons) == 0 {
		return "one measurement"
	}
	return fmt.Sprintf("medians of %d rounds", r.Rounds)
}

func where(target string) string {
	if target == targetLeader {
		return "the leader"
	}
	return "all nodes, the first at the leader"
}

func orMissing(s string) string {
	if s == "" {
		return missing
	}
	return s
}

// table is one line per case. "a / b" is etcd / geogate.
func (c *comparison) table() string {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"operation", "clients", "etcd/s", "geogate/s", "ratio", "p50 ms", "p99 ms", "p99.9 ms",
		"CPU us/op", "peak RSS MiB", "ceiling/s", "of ceiling"})
	for _, r := range c.Cases {
		e, g := r.side(sideEtcd), r.side(sideGeogate)
		t.AppendRow(table.Row{
			r.label(), r.Clients, e.show("%.0f", rate), g.show("%.0f", rate), number("%.2fx", r.Ratio),
			both(e, g, "%.2f", func(s sample) float64 { return s.P50 }),
			both(e, g, "%.2f", func(s sample) float64 { return s.P99 }),
			both(e, g, "%.2f", func(s sample) float64 { return s.P999 }),
			both(e, g, "%.0f", func(s sample) float64 { return s.CPUMicros }),
			r.memory(e, g),
			r.side(sideCeiling).show("%.0f", rate), number("%.0f %%", 100*r.OfCeiling),
		})
	}
	return t.RenderMarkdown()
}

// natsTable is a table of its own, because its clients send something else to something else.
func (c *comparison) natsTable() string {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"operation", "clients", "JetStream KV/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU us/op", "peak RSS MiB"})
	for _, r := range c.Cases {
		n := r.side(sideNATS)
		if !n.ok {
			continue
		}
		rss := missing
		if r.Total > 0 {
			rss = fmt.Sprintf("%.0f", n.PeakRSS/(1<<20))
		}
		t.AppendRow(table.Row{
			r.label(), r.Clients, n.show("%.0f", rate), fmt.Sprintf("%.2f", n.P50), fmt.Sprintf("%.2f", n.P99), fmt.Sprintf("%.2f", n.P999),
			fmt.Sprintf("%.0f", n.CPUMicros), rss,
		})
	}
	return t.RenderMarkdown()
}

func (r *caseResult) label() string {
	if r.Total > 0 {
		return fmt.Sprintf("%s x%d", r.Op, r.Total)
	}
	return string(r.Op)
}

// memory can be compared only where all sides did the same work.
func (r *caseResult) memory(e, g cell) string {
	if r.Total == 0 {
		return missing
	}
	return both(e, g, "%.0f", func(s sample) float64 { return s.PeakRSS / (1 << 20) })
}

// cell is one side's median, which may be missing.
type cell struct {
	sample
	ok bool
}

func (r *caseResult) side(name string) cell {
	s, ok := r.Medians[name]
	return cell{s, ok}
}

func rate(s sample) float64 { return s.Rate }

func (c cell) show(format string, figure func(sample) float64) string {
	if !c.ok {
		return missing
	}
	return fmt.Sprintf(format, figure(c.sample))
}

func both(e, g cell, format string, figure func(sample) float64) string {
	return e.show(format, figure) + " / " + g.show(format, figure)
}

func number(format string, v float64) string {
	if v == 0 {
		return missing
	}
	return fmt.Sprintf(format, v)
}
