package main

import (
	"log/slog"

	"geogate/cmd/dev"
	"geogate/cmd/node"
	"geogate/configs"
)

var _ dev.Node = (*node.Node)(nil)

// openNode opens one node; serve runs one, dev several.
func openNode(t *configs.Topology, dc, name string, join bool, logger *slog.Logger) (*node.Node, error) {
	return node.Open(node.Config{Topology: t, DC: dc, Node: name, Join: join, Logger: logger.With("dc", dc, "node", name)})
}
