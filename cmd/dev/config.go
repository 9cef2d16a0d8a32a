package dev

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"geogate/configs"
)

// Defaults of [Config].
const (
	DefaultDir      = ".geogate/dev"
	DefaultBasePort = 24000
	DefaultNodes    = 1
)

// DefaultDCs are the datacenters of a new cluster when none are named.
func DefaultDCs() []string { return []string{"us-east", "eu-west", "ap-south"} }

// Node is one member of a datacenter, opened and ready to run.
type Node interface {
	// Run owns all the node's goroutines, files and sockets until ctx ends, and stops cleanly then.
	Run(ctx context.Context) error
	// Kill makes Run return at once without the care of a clean stop, as a crash would.
	Kill()
}

// Opener makes a node of a topology.
type Opener func(t *configs.Topology, dc, node string) (Node, error)

// Config describes a cluster. Fields without a stated default are required.
type Config struct {
	Dir      string        // "" means .geogate/dev below the current folder
	DCs      []string      // nil means those that the folder holds, or DefaultDCs
	Nodes    int           // of each datacenter: 1, 3 or 5; 0 means as the folder has it, or 1
	BasePort int           // of the first node of the first datacenter; 0 means as the folder has it, or 24000
	RTT      time.Duration // of every link between datacenters; 0 means no delay
	Open     Opener
	Logger   *slog.Logger // nil means none
}

func (c Config) withDefaults() Config {
	if c.Dir == "" {
		c.Dir = DefaultDir
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c *Config) validate() error {
	switch {
	case c.Open == nil:
		return fmt.Errorf("%w: nothing opens the nodes", ErrConfig)
	case c.RTT < 0:
		return fmt.Errorf("%w: the round trip time is %s, want 0 or more", ErrConfig, c.RTT)
	case c.Nodes != 0 && c.Nodes != 1 && c.Nodes != 3 && c.Nodes != 5:
		return fmt.Errorf("%w: asked for %d nodes in each datacenter, want 1, 3 or 5", ErrConfig, c.Nodes)
	case c.BasePort < 0 || c.BasePort > 65535:
		return fmt.Errorf("%w: base port %d, want 1 to 65535", ErrConfig, c.BasePort)
	}
	return nil
}
