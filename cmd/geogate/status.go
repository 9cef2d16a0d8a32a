package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"geogate/cmd/status"
)

const (
	defaultAdmin   = "127.0.0.1:24002"
	requestTimeout = 5 * time.Second
)

func newStatus() *cobra.Command {
	var endpoint string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show a node, its datacenter and the peers",
		Args:  args(),
	}
	addEndpoint(cmd, &endpoint)
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), requestTimeout)
		defer cancel()
		r, raw, err := status.Fetch(ctx, endpoint)
		if err != nil {
			return err
		}
		return o.print(cmd.OutOrStdout(), raw, r.WriteStatus)
	}
	return cmd
}

func addEndpoint(cmd *cobra.Command, endpoint *string) {
	cmd.Flags().StringVar(endpoint, "endpoint", defaultAdmin, "admin address of a node; the leader knows the peers")
}
