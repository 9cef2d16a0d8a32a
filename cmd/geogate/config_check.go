package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"geogate/configs"
)

func newConfigCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a topology and print every problem with its line and key",
		Long: "check reads a topology as serve would, environment variables included. It exits with 1 when the\n" +
			"topology has problems. Keys and certificates are not read: they are on the nodes' machines.",
		Args: args("FILE"),
	}
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return checkConfig(cmd.OutOrStdout(), args[0], *o)
	}
	return cmd
}

// verdict is what check prints as JSON.
type verdict struct {
	File        string            `json:"file"`
	Valid       bool              `json:"valid"`
	Problems    []configs.Problem `json:"problems"`
	Cluster     string            `json:"cluster,omitempty"`
	Datacenters []string          `json:"datacenters,omitempty"`
}

func checkConfig(w io.Writer, path string, o output) error {
	t, err := configs.Load(path)
	var problems configs.Problems
	if err != nil && !errors.As(err, &problems) {
		return err
	}
	v := verdict{File: path, Valid: err == nil, Problems: problems}
	if v.Valid {
		v.Cluster, v.Datacenters, v.Problems = t.Cluster, t.Names(), []configs.Problem{}
	}
	perr := o.print(w, v, func(w io.Writer) error {
		if !v.Valid {
			_, err := fmt.Fprintln(w, problems.Error())
			return err
		}
		nodes := 0
		for _, d := range t.Datacenters {
			nodes += len(d.Nodes)
		}
		_, err := fmt.Fprintf(w, "%s: valid; cluster %s with %d datacenters and %d nodes\n", path, t.Cluster, len(t.Datacenters), nodes)
		return err
	})
	switch {
	case perr != nil:
		return perr
	case len(problems) == 1:
		return fmt.Errorf("%s has 1 problem", path)
	case !v.Valid:
		return fmt.Errorf("%s has %d problems", path, len(problems))
	}
	return nil
}
