package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"geogate/cmd/node"
	"geogate/configs"
)

// Environment variables that stand in for flags of serve.
const (
	envConfig = configs.EnvPrefix + "_CONFIG"
	envDC     = configs.EnvPrefix + "_DC"
	envNode   = configs.EnvPrefix + "_NODE"
)

func newServe() *cobra.Command {
	var path, dc, name, force string
	var join, rebuild bool
	cmd := &cobra.Command{
		Use:   "serve --config FILE [--dc NAME --node NAME] [--rebuild]",
		Short: "Run one node of the topology",
		Args:  args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return usagef("serve needs a topology: give --config FILE or set %s", envConfig)
			}
			return serve(cmd.Context(), cmd.ErrOrStderr(), path, dc, name, join, rebuild, force)
		},
	}
	cmd.Flags().StringVar(&path, "config", os.Getenv(envConfig), "topology file; $"+envConfig)
	cmd.Flags().StringVar(&dc, "dc", os.Getenv(envDC), "datacenter of this node; $"+envDC+"; may be left out when there is one")
	cmd.Flags().StringVar(&name, "node", os.Getenv(envNode), "name of this node; $"+envNode+"; may be left out when there is one")
	cmd.Flags().BoolVar(&join, "join", false, "enter the group that the other nodes have founded, on the first start; as join: true of the node in the topology")
	cmd.Flags().BoolVar(&rebuild, "rebuild", false,
		"if this node's data is damaged or lost and its Raft log is whole, get a copy from another node of its datacenter first")
	cmd.Flags().StringVar(&force, "force-new-cluster", "",
		"DC/NODE of this node: when all other nodes of its datacenter are lost for good, say what a group of this node alone would lose, and how to go on with it")
	return cmd
}

// startTime is after how long a node has mostly started; a start that takes longer touches some pages again.
const startTime = 2 * time.Second

// serve runs one node until ctx ends.
func serve(ctx context.Context, stderr io.Writer, path, dc, name string, join, rebuild bool, force string) error {
	t, err := configs.Load(path)
	if err != nil {
		return err
	}
	if dc, name, err = whoami(t, dc, name); err != nil {
		return err
	}
	logger := newLogger(stderr, t.Log)
	defer spaceCollections()()
	if force != "" {
		if err := forceNew(ctx, stderr, nodeConfig(t, dc, name, join, logger), force); err != nil {
			return fmt.Errorf("force a new group of node %s of %s: %w", name, dc, err)
		}
	}
	var n *node.Node
	if rebuild {
		n, err = openOrRebuild(ctx, t, dc, name, join, logger)
	} else {
		n, err = openNode(t, dc, name, join, logger)
	}
	if err != nil {
		return fmt.Errorf("open node %s of %s: %w", name, dc, err)
	}
	started := time.AfterFunc(startTime, func() {
		if err := forgetStartup(); err != nil {
			logger.Debug("the pages of the start stay in memory", "error", err)
		}
	})
	defer started.Stop()
	err = n.Run(ctx)
	if err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("node %s of %s: %w", name, dc, err)
}

// whoami completes and checks the name of this node.
func whoami(t *configs.Topology, dc, name string) (string, string, error) {
	if dc == "" {
		if len(t.Datacenters) > 1 {
			return "", "", usagef("the topology has the datacenters %s: say which is this one with --dc or %s", strings.Join(t.Names(), ", "), envDC)
		}
		dc = t.Datacenters[0].Name
	}
	d, ok := t.Datacenter(dc)
	if !ok {
		return "", "", usagef("the topology has no datacenter %q, only %s", dc, strings.Join(t.Names(), ", "))
	}
	names := make([]string, len(d.Nodes))
	for i, n := range d.Nodes {
		names[i] = n.Name
	}
	if name == "" {
		if len(names) > 1 {
			return "", "", usagef("%s has the nodes %s: say which is this one with --node or %s", dc, strings.Join(names, ", "), envNode)
		}
		name = names[0]
	}
	if _, ok := d.Node(name); !ok {
		return "", "", usagef("%s has no node %q, only %s", dc, name, strings.Join(names, ", "))
	}
	return dc, name, nil
}
