package drill

import (
	"context"
	"fmt"
)

// undo puts everything back as it was, as far as it is not, and says what could not be.
func (d *drill) undo(ctx context.Context) (problems []string) {
	try := func(name, advice string, do func(context.Context) error) {
		if err := d.record(ctx, "undo: "+name, do); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %s; %s", name, err, advice))
		}
	}
	if d.cfg.Faults != nil && d.changedLinks(ctx) {
		try("heal the links", "heal them with `geogate dev link A B heal rtt=... bandwidth=...`", d.heal)
	}
	wait := len(d.down) > 0
	for _, s := range d.sites {
		if d.down[s.name] && d.before.Datacenters[s.name] == "running" {
			try("start "+s.name, "start it with `geogate dev dc "+s.name+" start`", func(ctx context.Context) error { return d.start(ctx, s.name) })
		}
	}
	if wait {
		try("wait for healthy", "see `geogate status`", func(ctx context.Context) error { return d.waitFor(ctx, untilHealthy) })
	}
	if !d.moved || d.home == "" {
		return problems
	}
	// A move that was begun goes on without the command.
	if d.unsettled(ctx) != "" {
		try("wait for the home", "see `geogate dr status`", func(ctx context.Context) error { return d.waitUntil(ctx, "settled", d.unsettled) })
	}
	if d.currentHome(ctx) == d.home {
		return problems
	}
	try("switchover to "+d.home, fmt.Sprintf("move it with `geogate dr switchover --keyspace %s --to %s`", d.keyspace.Prefix, d.home),
		func(ctx context.Context) error {
			if err := d.switchover(ctx, d.home); err != nil {
				return err
			}
			return d.waitFor(ctx, untilHome)
		})
	return problems
}

// changedLinks says whether a link is not as it was; unknown counts as changed.
func (d *drill) changedLinks(ctx context.Context) bool {
	now, err := d.cfg.Faults.State(ctx)
	if err != nil {
		return true
	}
	for i, was := range d.before.Links {
		if i >= len(now.Links) || now.Links[i] != was {
			return true
		}
	}
	return false
}

// currentHome is the home in the newest epoch that a datacenter knows of.
func (d *drill) currentHome(ctx context.Context) (home string) {
	var newest uint64
	for _, s := range d.sites {
		if k, err := s.keyspace(ctx, d.keyspace.Prefix); err == nil && k.Epoch >= newest {
			newest, home = k.Epoch, k.Home
		}
	}
	return home
}
