package drill

import (
	"context"
	"fmt"
	"time"
)

// waitFor waits until something is so, for the scenario's step limit.
func (d *drill) waitFor(ctx context.Context, what string) error {
	var missing func(context.Context) string
	switch what {
	case untilHealthy:
		missing = func(context.Context) string { return d.unhealthy() }
	case untilDetected:
		missing = func(context.Context) string {
			if f := d.book.undetected(); f != "" {
				return "no datacenter holds it to be down: " + f
			}
			return ""
		}
	case untilHome:
		missing = d.homeless
	case untilConverged:
		heads := d.book.head()
		missing = func(context.Context) string { return d.behind(heads) }
	}
	return d.waitUntil(ctx, what, missing)
}

// waitUntil waits until nothing is missing, for the scenario's step limit.
func (d *drill) waitUntil(ctx context.Context, what string, missing func(context.Context) string) error {
	limit, cancel := context.WithTimeout(ctx, d.scenario.StepLimit)
	defer cancel()
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		why := missing(limit)
		if why == "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-limit.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("not %s within %s: %s", what, d.scenario.StepLimit, why)
		}
	}
}

// unhealthy is the first datacenter that a running one does not hold to be healthy.
func (d *drill) unhealthy() string {
	for _, s := range d.sites {
		if d.down[s.name] {
			continue
		}
		r := d.watch.report(s.name)
		if r == nil {
			return s.name + " does not answer"
		}
		for _, p := range r.Peers {
			if p.Health != "healthy" && !d.down[p.DC] {
				return fmt.Sprintf("to %s, %s is %s: %s", s.name, p.DC, p.Health, p.Reason)
			}
		}
	}
	return ""
}

// behind is the first running datacenter that has not applied what was acknowledged.
func (d *drill) behind(heads map[string]int64) string {
	for _, s := range d.sites {
		if d.down[s.name] {
			continue
		}
		r := d.watch.report(s.name)
		if r == nil {
			return s.name + " does not answer"
		}
		for origin, revision := range heads {
			if origin == s.name {
				continue // its own
			}
			if have := r.Vector[origin]; have < revision {
				return fmt.Sprintf("%s has applied %s up to revision %d, and %d was acknowledged", s.name, origin, have, revision)
			}
		}
	}
	return ""
}

// homeless says why the keyspace has no home that takes writes.
func (d *drill) homeless(ctx context.Context) string {
	why := "keyspace " + d.keyspace.Prefix + " has one writer everywhere, and no home"
	for _, s := range d.sites {
		if d.down[s.name] {
			continue
		}
		k, err := s.keyspace(ctx, d.keyspace.Prefix)
		switch {
		case err != nil:
			why = err.Error()
		case k.Open:
			return ""
		default:
			why = fmt.Sprintf("%s: %s", s.name, k.Why)
		}
	}
	return why
}

// unsettled says why it is not known yet where the home will be: it is being moved, or there is none.
func (d *drill) unsettled(ctx context.Context) string {
	for _, s := range d.sites {
		if d.down[s.name] {
			continue
		}
		k, err := s.keyspace(ctx, d.keyspace.Prefix)
		if err != nil {
			return err.Error()
		}
		for _, m := range k.Moves {
			if m.Result == "" && m.Decided == 0 {
				return fmt.Sprintf("%s is moving the home to %s: %s", s.name, m.To, m.Phase)
			}
		}
	}
	return d.homeless(ctx)
}
