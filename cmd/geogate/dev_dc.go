package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"geogate/cmd/dev"
)

func newDevDC() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "dc NAME stop|kill|start",
		Short:   "Stop, kill or start a datacenter of the running dev cluster",
		Long:    "stop ends all nodes of the datacenter cleanly, kill as a power cut would; start resumes either.",
		Example: "  geogate dev dc eu-west kill\n  geogate dev dc eu-west start",
		Args:    args("NAME", "stop|kill|start"),
	}
	addDir(cmd, &dir)
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		action := dev.Action(args[1])
		if !slices.Contains([]dev.Action{dev.Stop, dev.Kill, dev.Start}, action) {
			return usagef("%q is nothing to do to a datacenter; use stop, kill or start", args[1])
		}
		state, err := changeDC(cmd.Context(), dir, args[0], action)
		if err != nil {
			return err
		}
		return o.print(cmd.OutOrStdout(), map[string]string{"dc": args[0], "state": state},
			rows([][]string{{"DC", "STATE"}, {args[0], state}}))
	}
	return cmd
}

func changeDC(ctx context.Context, dir, name string, a dev.Action) (string, error) {
	c, err := dev.Attach(dir)
	if err != nil {
		return "", err
	}
	return c.Do(ctx, name, a)
}
