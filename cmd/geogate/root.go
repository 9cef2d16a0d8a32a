package main

import (
	"io"

	"github.com/spf13/cobra"
)

// newRoot is the whole command tree.
func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := group(&cobra.Command{
		Use:   "geogate",
		Short: "Cross-datacenter geo-replication gateway with the etcd v3 API",
		Long: "geogate commits writes in the Raft group of each datacenter, replicates them to the other\n" +
			"datacenters over NATS JetStream, and lets each write wait for ALL, QUORUM, ANY or none of them.\n" +
			"Applications use any etcd v3 client.",
		SilenceUsage:  true,
		SilenceErrors: true,
	},
		newServe(), newRestore(), newDev(), newStatus(), newLag(), newVerify(), newDR(), newBench(), newImport(), newConfig(), newVersion())
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; see %s --help", err, cmd.CommandPath())
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}
