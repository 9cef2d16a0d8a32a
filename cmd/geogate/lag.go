package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"geogate/cmd/status"
)

func newLag() *cobra.Command {
	var (
		endpoint string
		watch    bool
		interval time.Duration
	)
	cmd := &cobra.Command{
		Use:   "lag",
		Short: "Show how far each peer is behind",
		Long: "lag shows, for each peer, what this datacenter has committed and the peer has not confirmed: in\n" +
			"transactions, bytes and seconds. What is not known is shown as ?, and as null in JSON.",
		Args: args(),
	}
	addEndpoint(cmd, &endpoint)
	cmd.Flags().BoolVar(&watch, "watch", false, "go on until interrupted")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "time between two looks of --watch")
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if interval <= 0 {
			return usagef("--interval is %s, want more than 0, such as 1s", interval)
		}
		if !watch {
			return lag(cmd.Context(), cmd.OutOrStdout(), endpoint, *o)
		}
		if *o == asJSON {
			*o = oneLine
		}
		return watchLag(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), endpoint, *o, interval)
	}
	return cmd
}

func lag(ctx context.Context, w io.Writer, endpoint string, o output) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, raw, err := status.Fetch(ctx, endpoint)
	if err != nil {
		return err
	}
	return o.print(w, raw, r.WriteLag)
}

// watchLag looks again and again. A node that does not answer is news, not the end.
func watchLag(ctx context.Context, w, stderr io.Writer, endpoint string, o output, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if o == table {
			if _, err := fmt.Fprintln(w, time.Now().Format("15:04:05.000")); err != nil {
				return err
			}
		}
		if err := lag(ctx, w, endpoint, o); err != nil && ctx.Err() == nil {
			if _, werr := fmt.Fprintln(stderr, "geogate:", err); werr != nil {
				return werr
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
