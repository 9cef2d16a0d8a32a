package dev

import (
	"context"
	"errors"
	"fmt"
	"time"

	"geogate/cmd/status"
	"geogate/configs"
)

const (
	// readyInterval is how often the nodes are asked while the cluster comes up.
	readyInterval = 100 * time.Millisecond
	// readyPatience is how long that may take before somebody is told what is missing, again and again.
	readyPatience = 5 * time.Second
)

// ErrNotReady means that the cluster had not come up when the waiting ended.
var ErrNotReady = errors.New("not ready")

// WaitReady returns when every datacenter has a leader to which every peer is healthy, which is when every
// link works in both directions. When that takes long, waiting (which may be nil) is told what is missing.
func WaitReady(ctx context.Context, t *configs.Topology, waiting func(missing error)) error {
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	for since := time.Now(); ; {
		missing := firstMissing(ctx, t)
		if missing == nil {
			return nil
		}
		if waiting != nil && time.Since(since) >= readyPatience {
			waiting(missing)
			since = time.Now()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrNotReady, missing)
		case <-tick.C:
		}
	}
}

// firstMissing is the first thing that is not ready, nil when all is.
func firstMissing(ctx context.Context, t *configs.Topology) error {
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
