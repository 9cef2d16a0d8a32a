package main

import (
	"context"
	"log/slog"

	"geogate/cmd/dev"
	"geogate/cmd/node"
	"geogate/configs"
)

var _ dev.Node = (*node.Node)(nil)

// openNode opens one node; serve runs one, dev several.
func openNode(t *configs.Topology, dc, name string, join bool, logger *slog.Logger) (*node.Node, error) {
	return node.Open(nodeConfig(t, dc, name, join, logger))
}

func nodeConfig(t *configs.Topology, dc, name string, join bool, logger *slog.Logger) node.Config {
	return node.Config{Topology: t, DC: dc, Node: name, Join: join, Logger: logger.With("dc", dc, "node", name)}
}

// openOrRebuild opens a node, and when its data is damaged or lost replaces that first. It does so once: a copy
// that does not open either is a person's to look at.
func openOrRebuild(ctx context.Context, t *configs.Topology, dc, name string, join bool, logger *slog.Logger) (*node.Node, error) {
	n, err := openNode(t, dc, name, join, logger)
	if err == nil || !node.NeedsRebuild(err) {
		return n, err
	}
	logger.Error("the data of this node can't be used; rebuilding it", "dc", dc, "node", name, "error", err)
	if err := node.Rebuild(ctx, nodeConfig(t, dc, name, join, logger)); err != nil {
		return nil, err
	}
	return openNode(t, dc, name, join, logger)
}
