package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"geogate/cmd/dev"
	"geogate/configs"
)

func newDev() *cobra.Command {
	var c dev.Config
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run several datacenters in this process, with emulated WAN links",
		Long: "dev runs a whole cluster in one process, prints its endpoints, and prints `ready` once every\n" +
			"datacenter has a leader and every link is healthy. The same --dir resumes the same cluster.\n" +
			"While it runs, `geogate dev link` and `geogate dev dc` change it from another terminal.",
	}
	group(cmd, newDevLink(), newDevDC())
	unknown := cmd.RunE
	f := cmd.Flags()
	f.StringSliceVar(&c.DCs, "dcs", nil, "datacenters, separated by commas (default us-east,eu-west,ap-south, or those that --dir holds)")
	f.IntVar(&c.Nodes, "nodes", 0, "nodes of each datacenter: 1, 3 or 5 (default 1, or as --dir has it)")
	f.DurationVar(&c.RTT, "rtt", 0, "round trip time of the links between datacenters")
	f.StringVar(&c.Dir, "dir", dev.DefaultDir, "folder of the cluster")
	f.IntVar(&c.BasePort, "base-port", 0, "port of the first node's client API (default 24000, or as --dir has it)")
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknown(cmd, args)
		}
		if f.Changed("dcs") && len(c.DCs) == 0 {
			return usagef("--dcs names no datacenter; give names such as us-east,eu-west")
		}
		if f.Changed("nodes") && c.Nodes < 1 {
			return usagef("--nodes is %d, want 1, 3 or 5", c.Nodes)
		}
		return runDev(cmd.Context(), c, *o, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// runDev runs the cluster until ctx ends.
func runDev(ctx context.Context, c dev.Config, o output, stdout, stderr io.Writer) (err error) {
	c.Open = func(t *configs.Topology, dc, name string) (dev.Node, error) {
		return openNode(t, dc, name, false, newLogger(stderr, t.Log))
	}
	cluster, err := dev.Open(c)
	if errors.Is(err, dev.ErrConfig) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	if err := printEndpoints(stdout, o, cluster.Topology()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	ready := make(chan error, 1)
	go func() {
		err := dev.WaitReady(ctx, cluster.Topology(), func(missing error) {
			_, _ = fmt.Fprintln(stderr, "geogate: not ready yet:", missing)
		})
		if err == nil {
			_, err = fmt.Fprintln(stdout, "ready")
		}
		ready <- err
	}()
	err = cluster.Run(ctx)
	cancel()
	if rerr := <-ready; !errors.Is(rerr, dev.ErrNotReady) { // stopped before it came up: err says why, if not the user
		err = errors.Join(err, rerr)
	}
	return err
}

// endpoint is one line of what dev prints.
type endpoint struct {
	DC     string `json:"dc"`
	Node   string `json:"node"`
	Client string `json:"client"`
	Raft   string `json:"raft"`
	Admin  string `json:"admin"`
	NATS   string `json:"nats"`
}

func printEndpoints(w io.Writer, o output, t *configs.Topology) error {
	var list []endpoint
	lines := [][]string{{"DC", "NODE", "CLIENT", "RAFT", "ADMIN", "NATS"}}
	for _, d := range t.Datacenters {
		for _, n := range d.Nodes {
			list = append(list, endpoint{d.Name, n.Name, n.Client, n.Raft, n.Admin, n.NATS})
			lines = append(lines, []string{d.Name, n.Name, n.Client, n.Raft, n.Admin, n.NATS})
		}
	}
	return o.print(w, list, rows(lines))
}

// millis prints a round trip time, bandwidth a rate.
func millis(ms int64) string { return (time.Duration(ms) * time.Millisecond).String() }

func bandwidth(bytesPerSecond int64) string {
	if bytesPerSecond == 0 {
		return "unlimited"
	}
	return strconv.FormatInt(bytesPerSecond, 10) + " B/s"
}
