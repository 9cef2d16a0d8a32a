package main

import (
	"context"

	"github.com/spf13/cobra"

	"geogate/cmd/dev"
)

func newDevLink() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "link A B cut|heal|rtt=60ms|bandwidth=10MB ...",
		Short: "Change the link between two datacenters of the running dev cluster",
		Long: "cut drops everything both ways without closing a connection, until heal. rtt is the round trip\n" +
			"time, bandwidth the bytes per second of each connection in each direction; 0 takes either away.",
		Example: "  geogate dev link us-east eu-west cut\n  geogate dev link us-east eu-west heal rtt=60ms bandwidth=10MB",
		Args:    args("A", "B", "CHANGE..."),
	}
	addDir(cmd, &dir)
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if _, err := dev.ParseChange(args[2:]); err != nil {
			return usageError{err}
		}
		s, err := changeLink(cmd.Context(), dir, args[0], args[1], args[2:])
		if err != nil {
			return err
		}
		state := "up"
		if s.Cut {
			state = "cut"
		}
		return o.print(cmd.OutOrStdout(), s, rows([][]string{
			{"A", "B", "STATE", "RTT", "BANDWIDTH"},
			{s.A, s.B, state, millis(s.RTTMillis), bandwidth(s.Bandwidth)},
		}))
	}
	return cmd
}

func changeLink(ctx context.Context, dir, a, b string, words []string) (dev.LinkState, error) {
	c, err := dev.Attach(dir)
	if err != nil {
		return dev.LinkState{}, err
	}
	return c.Link(ctx, a, b, words)
}

func addDir(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "dir", dev.DefaultDir, "folder of the running cluster")
}
