//go:build linux

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newCommand() *cobra.Command {
	c := defaults()
	cmd := &cobra.Command{
		Use:   "faults",
		Short: "Break a real cluster under load and check that no promise was broken",
		Long: "Runs datacenters of real geogate processes in network namespaces joined by a packet emulator, breaks\n" +
			"them by a seed while clients write, read and watch, heals everything, and checks what the clients saw.\n" +
			"Needs root. The same seed gives the same sequence of faults; their effects depend on timing.",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	f := cmd.Flags()
	f.IntVar(&c.Seconds, "seconds", c.Seconds, "of load and faults; healing and checking come on top")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "of the sequence of faults and of the network's chances; 0 draws one")
	f.IntSliceVar(&c.Nodes, "nodes", c.Nodes, "of each datacenter: 1, 3 or 5")
	f.StringSliceVar(&c.Only, "only", c.Only, "kinds of faults to use, all when empty: "+strings.Join(kindNames(), ", "))
	f.StringSliceVar(&c.Rows, "row", c.Rows, "rows to play instead of the mix, or "+allRows+"; --list tells what there is")
	f.StringSliceVar(&c.Rows, "rows", c.Rows, "the same")
	list := f.Bool("list", false, "list the rows and end")
	f.StringVar(&c.Geogate, "geogate", c.Geogate, "the geogate program; empty builds it")
	f.StringVar(&c.Dir, "dir", c.Dir, "folder on a real disk for the nodes' data, which is removed afterwards; empty means that for temporary files")
	f.StringVar(&c.Out, "out", c.Out, "folder for logs and histories of a run that failed")
	f.Uint64Var(&c.MaxRSSMiB, "max-rss-mib", c.MaxRSSMiB, "memory that a node may have at any time")
	f.Uint64Var(&c.MaxDiskMiB, "max-disk-mib", c.MaxDiskMiB, "disk that a node may use at any time")
	f.DurationVar(&c.Recover, "recover", c.Recover, "from the end of a fault until every datacenter takes an ALL write again")
	f.DurationVar(&c.Converge, "converge", c.Converge, "from the end of the load until all nodes are equal")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *list {
			return listRows(cmd.OutOrStdout())
		}
		return run(cmd.Context(), c, cmd.OutOrStdout())
	}
	return cmd
}
