package main

import "github.com/spf13/cobra"

func newConfig() *cobra.Command {
	return group(&cobra.Command{
		Use:   "config",
		Short: "Check a topology, make keys",
	}, newConfigCheck(), newConfigKeys())
}
