package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"geogate/cmd/dev"
	"geogate/cmd/drill"
	"geogate/cmd/importer"
	"geogate/configs"
)

func newDrill() *cobra.Command {
	return group(&cobra.Command{
		Use:   "drill",
		Short: "Rehearse a disaster, measure it, and put everything back",
		Long: "A drill does to a cluster what a scenario says, while probe clients write and read a prefix of their own at\n" +
			"every datacenter. It measures how long writes paused and failed, looks for every acknowledged write in every\n" +
			"datacenter, puts everything back as it was, and keeps a report.",
	}, newDrillRun(), newDrillList(), newDrillShow(), newDrillSource())
}

// drillRun is the flags of `dr drill run`.
type drillRun struct {
	config, dev  string
	folder       drill.Folder
	html         string
	metrics      string
	prefix       string
	anyway, keep bool
	access       importer.Endpoint
}

func addReports(cmd *cobra.Command, f *drill.Folder) {
	cmd.Flags().StringVar(&f.Dir, "dir", drill.DefaultDir, "folder of the reports")
}

func newDrillRun() *cobra.Command {
	var f drillRun
	cmd := &cobra.Command{
		Use:   "run NAME|FILE",
		Short: "Run a built-in scenario, or one of a file",
		Long: "run looks whether the cluster is well, runs the scenario, and puts everything back as it was, also when it is\n" +
			"interrupted, out of time, or misses an objective by a lot. Without --config it is the dev cluster of --dev.\n" +
			"Steps that stop datacenters or change links need a dev cluster; those that move a home work everywhere.\n" +
			"It exits with 0 when the drill passed, and with 1 when it failed or was refused.",
		Example: "  geogate dr drill run cut-link\n  geogate dr drill run switchover-and-back --config geogate.yaml --prefix /canary/",
		Args:    args("NAME|FILE"),
	}
	fl := cmd.Flags()
	fl.StringVar(&f.config, "config", "", "topology of the cluster; none: the dev cluster of --dev")
	fl.StringVar(&f.dev, "dev", dev.DefaultDir, "folder of the running dev cluster")
	fl.StringVar(&f.html, "html", "", "write the report as a page into this file, too")
	fl.StringVar(&f.metrics, "metrics-file", "", "write the last results for node_exporter's textfile collector into this file, such as .../geogate_drill.prom")
	fl.StringVar(&f.prefix, "prefix", "", "prefix of the probes' keys instead of the scenario's; its keyspace is the one that moves")
	fl.BoolVar(&f.anyway, "anyway", false, "begin although the cluster is not well")
	fl.BoolVar(&f.keep, "keep-keys", false, "leave the probes' keys where they are")
	addReports(cmd, &f.folder)
	addSecurity(cmd, "client", &f.access)
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.config != "" && cmd.Flags().Changed("dev") {
			return usagef("--config names a cluster, and --dev another one; give one of them")
		}
		cfg, err := f.prepare(args[0], func(text string) { progress(cmd)(text) })
		if err != nil {
			return err
		}
		return f.run(cmd.Context(), cmd.OutOrStdout(), cfg, *o)
	}
	return cmd
}

// prepare reads the scenario and finds the cluster.
func (f *drillRun) prepare(name string, tell func(string)) (cfg drill.Config, err error) {
	cfg = drill.Config{Prefix: f.prefix, Anyway: f.anyway, Keep: f.keep, Progress: tell}
	if cfg.Scenario, err = drill.Find(name); err != nil {
		return cfg, usageError{err}
	}
	file := f.config
	if file == "" {
		c, err := dev.Attach(f.dev)
		if err != nil {
			return cfg, fmt.Errorf("%w; for another cluster give --config", err)
		}
		cfg.Faults, file = c, c.Topology()
	}
	if cfg.Topology, err = configs.Load(file); err != nil {
		return cfg, err
	}
	cfg.Dial = func(addresses []string, options ...grpc.DialOption) (*clientv3.Client, error) {
		e := f.access
		e.Addresses, e.Options = addresses, options
		return e.Dial()
	}
	return cfg, nil
}

// run runs the drill, keeps its report and prints it.
func (f *drillRun) run(ctx context.Context, w io.Writer, cfg drill.Config, o output) error {
	r, err := drill.Run(ctx, cfg)
	if r == nil {
		return err
	}
	path, serr := f.folder.Save(r)
	if serr == nil {
		cfg.Progress("the report is in " + path)
	}
	if f.html != "" {
		serr = errors.Join(serr, writePage(r, f.html))
	}
	if f.metrics != "" {
		serr = errors.Join(serr, f.folder.WriteMetrics(f.metrics))
	}
	return errors.Join(err, serr, o.print(w, r, r.Write))
}

// writePage writes a report as a page.
func writePage(r *drill.Report, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return errors.Join(r.WriteHTML(file), file.Close())
}

func newDrillList() *cobra.Command {
	var f drill.Folder
	cmd := &cobra.Command{Use: "list", Short: "List the drills that were run, the newest first", Args: args()}
	addReports(cmd, &f)
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := f.List(time.Now())
		if err != nil {
			return err
		}
		return o.print(cmd.OutOrStdout(), l, rows(l.Rows()))
	}
	return cmd
}

func newDrillShow() *cobra.Command {
	var f drill.Folder
	var html string
	cmd := &cobra.Command{Use: "show ID", Short: "Show the report of a drill; `last` is the newest", Args: args("ID")}
	addReports(cmd, &f)
	cmd.Flags().StringVar(&html, "html", "", "write it as a page into this file instead")
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := f.Load(args[0])
		if err != nil {
			return err
		}
		if html != "" {
			return writePage(r, html)
		}
		return o.print(cmd.OutOrStdout(), r, r.Write)
	}
	return cmd
}

func newDrillSource() *cobra.Command {
	return &cobra.Command{
		Use:   "scenario [NAME]",
		Short: "Print a built-in scenario, to begin one's own with; without a name list them",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				lines := [][]string{{"SCENARIO", "DOES"}}
				for _, name := range drill.Builtin() {
					s, err := drill.Find(name)
					if err != nil {
						return err
					}
					lines = append(lines, []string{name, s.Description})
				}
				return rows(lines)(cmd.OutOrStdout())
			}
			data, err := drill.Source(args[0])
			if err != nil {
				return usageError{err}
			}
			_, err = cmd.OutOrStdout().Write(data)
			return err
		},
	}
}
