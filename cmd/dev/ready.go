package dev

import (
	"context"
	"errors"
	"fmt"
	"time"

	"geogate/cmd/status"
	"geogate/configs"
)

// readyInterval is how often the nodes are asked while the cluster comes up.
const readyInterval = 100 * time.Millisecond

// ErrNotReady means that the cluster had not come up when the waiting ended.
var ErrNotReady = errors.New("not ready")

// WaitReady returns when every datacenter has a leader to which every peer is healthy, which is when every
// link works in both directions.
func WaitReady(ctx context.Context, t *configs.Topology) error {
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	for {
		missing := missing(ctx, t)
		if missing == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrNotReady, missing)
		case <-tick.C:
		}
	}
}

// missing is the first thing that is not ready, nil when all is.
func missing(ctx context.Context, t *configs.Topology) error {
	for i := range t.Datacenters {
		d := &t.Datacenters[i]
		leader, err := leader(ctx, d)
		if err != nil {
			return err
		}
		if len(leader.Peers) < len(t.Datacenters)-1 {
			return fmt.Errorf("the leader of %s knows %d of its %d peers", d.Name, len(leader.Peers), len(t.Datacenters)-1)
		}
		for _, p := range leader.Peers {
			if p.Health != "healthy" {
				return fmt.Errorf("to %s, %s is %s: %s", d.Name, p.DC, p.Health, p.Reason)
			}
		}
	}
	return nil
}

// leader is the report of the node that leads d.
func leader(ctx context.Context, d *configs.Datacenter) (*status.Report, error) {
	var last error
	for _, n := range d.Nodes {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		r, _, err := status.Fetch(ctx, n.Admin)
		cancel()
		if err != nil {
			last = err
			continue
		}
		if r.Leading() {
			return r, nil
		}
	}
	if last != nil {
		return nil, fmt.Errorf("%s has no leader: %w", d.Name, last)
	}
	return nil, fmt.Errorf("%s has no leader", d.Name)
}
