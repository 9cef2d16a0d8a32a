package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

func newCommand() *cobra.Command {
	c, quick := defaults(), false
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Compare a geogate datacenter with the real etcd",
		Long: "Starts etcd, geogate and a do-nothing gRPC server on this machine, drives each in turn with the same\n" +
			"load generator, and prints one Markdown table per comparison.",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	f := cmd.Flags()
	f.IntSliceVar(&c.Clients, "clients", c.Clients, "numbers of clients that put")
	f.IntSliceVar(&c.ReadClients, "read-clients", c.ReadClients, "numbers of clients that read, linearizably and then serializably")
	f.IntSliceVar(&c.TxnClients, "txn-clients", c.TxnClients, "numbers of clients that send transactions of a compare and a put")
	f.IntVar(&c.Rounds, "rounds", c.Rounds, "how often each side is measured in each case; medians are printed")
	f.DurationVar(&c.Duration, "duration", c.Duration, "of one measurement")
	f.IntVar(&c.ValueBytes, "value-bytes", c.ValueBytes, "of each value")
	f.IntVar(&c.WorkPuts, "work-puts", c.WorkPuts, "puts of the case in which all sides do the same work, for memory; 0 leaves it out")
	f.BoolVar(&c.Single, "single", c.Single, "also compare one geogate node with one etcd member")
	f.StringSliceVar(&c.Sides, "sides", c.Sides, "what to measure")
	f.StringVar(&c.Target, "target", c.Target, "where clients connect: all (every node, the leader first) or leader")
	f.StringVar(&c.Geogate, "geogate", c.Geogate, "the geogate program")
	f.StringVar(&c.Loader, "loader", c.Loader, "the load generator, which understands `geogate bench`; empty means the geogate program")
	f.StringVar(&c.Dir, "dir", c.Dir, "folder on a real disk for the servers' data, which is removed afterwards")
	f.StringVar(&c.JSON, "json", c.JSON, "file for everything that was measured")
	f.StringVar(&c.Profile, "profile", c.Profile, "file for a CPU profile of geogate's leader, taken in one more run of 64 clients")
	f.BoolVar(&c.Geo, "geo", c.Geo, "measure three geogate datacenters, and etcd's make-mirror, instead of one datacenter and etcd")
	f.IntVar(&c.Nodes, "nodes", c.Nodes, "nodes of each datacenter with --geo: 1 or 3")
	f.DurationVar(&c.RTT, "rtt", c.RTT, "emulated round trip time between datacenters of the QUORUM puts with --geo")
	f.IntSliceVar(&c.QuorumClients, "quorum-clients", c.QuorumClients, "numbers of clients of QUORUM puts from one datacenter at a time with --geo")
	f.IntVar(&c.Crowd, "crowd", c.Crowd, "clients in each datacenter when all put at once with --geo")
	f.IntVar(&c.CatchUp, "catch-up", c.CatchUp, "keys that a datacenter misses and catches up with --geo")
	f.DurationVar(&c.Idle, "idle", c.Idle, "how long to count CPU time at rest with --geo")
	f.BoolVar(&c.Growth, "growth", c.Growth, "measure geogate alone while keys, datacenters, nodes or values grow, one at a time")
	f.IntSliceVar(&c.GrowthKeys, "growth-keys", c.GrowthKeys, "numbers of keys with --growth; add 5000000 on a machine with time")
	f.IntSliceVar(&c.GrowthDCs, "growth-dcs", c.GrowthDCs, "numbers of datacenters with --growth")
	f.IntSliceVar(&c.GrowthNodes, "growth-nodes", c.GrowthNodes, "numbers of nodes with --growth: 1, 3 or 5")
	f.IntSliceVar(&c.GrowthValues, "growth-values", c.GrowthValues, "sizes of values in bytes with --growth")
	f.StringVar(&c.Plot, "plot", c.Plot, "SVG file for the curves of --growth; needs --json")
	f.BoolVar(&quick, "quick", false, "short measurements, about a minute in all once etcd is built; other flags still count")
	cmd.AddCommand(newNATSLoad())
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if quick {
			c.shorten(f.Changed)
		}
		if err := c.validate(); err != nil {
			return err
		}
		return run(cmd.Context(), &c, cmd.OutOrStdout(), progress(cmd.ErrOrStderr()))
	}
	return cmd
}

// progress prints what is going on, one line each, with the time since the start.
func progress(w io.Writer) func(format string, args ...any) {
	begin := time.Now()
	return func(format string, args ...any) {
		_, _ = fmt.Fprintf(w, "%6.1fs "+format+"\n", append([]any{time.Since(begin).Seconds()}, args...)...)
	}
}

// commandLine is how this run was asked for.
func commandLine() []string { return append([]string{"go", "run", "./test/bench"}, os.Args[1:]...) }
