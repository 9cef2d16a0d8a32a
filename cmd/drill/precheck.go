package drill

import (
	"context"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// settle is how long a cluster may take to be well; what was just started or healed takes a moment.
const settle = 5 * time.Second

// patientPrecheck looks again for a moment before it says no.
func (d *drill) patientPrecheck(ctx context.Context) []string {
	deadline := time.Now().Add(settle)
	for {
		reasons := d.precheck(ctx)
		if len(reasons) == 0 || d.cfg.Anyway || time.Now().After(deadline) {
			return reasons
		}
		select {
		case <-time.After(watchInterval):
		case <-ctx.Done():
			return append(reasons, ctx.Err().Error())
		}
	}
}

// precheck is why no drill should begin now; empty when all is well. It also learns where the home is, and how a dev
// cluster stands.
func (d *drill) precheck(ctx context.Context) (reasons []string) {
	for _, s := range d.sites {
		reasons = append(reasons, s.unwell(ctx)...)
		reasons = append(reasons, s.unreadable(ctx, d.scenario.Prefix)...)
	}
	reasons = append(reasons, d.homesUnwell(ctx)...)
	if d.cfg.Faults != nil {
		state, err := d.cfg.Faults.State(ctx)
		if err != nil {
			reasons = append(reasons, err.Error())
		}
		d.before = state
		for _, l := range state.Links {
			if l.Cut {
				reasons = append(reasons, fmt.Sprintf("the link between %s and %s is cut; heal it with `geogate dev link %s %s heal`", l.A, l.B, l.A, l.B))
			}
		}
	}
	return append(reasons, d.keysInTheWay(ctx)...)
}

// unreadable says that clients can't read. It also opens the connection, so that the drill does not measure that.
func (s *site) unreadable(ctx context.Context, key string) []string {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if _, err := s.client.Get(ctx, key, clientv3.WithSerializable()); err != nil {
		return []string{fmt.Sprintf("clients can't read in %s: %s", s.name, err)}
	}
	return nil
}

// unwell is what is wrong with a datacenter.
func (s *site) unwell(ctx context.Context) (reasons []string) {
	r, err := s.report(ctx)
	if err != nil {
		return []string{fmt.Sprintf("%s can't be asked how it is: %s", s.name, err)}
	}
	add := func(format string, a ...any) { reasons = append(reasons, fmt.Sprintf(format, a...)) }
	if r.Problem != "" {
		add("%s/%s: %s", r.DC, r.Node, r.Problem)
	}
	if r.Clock != nil && r.Clock.Refused != "" {
		add("%s refuses writes: %s", s.name, r.Clock.Refused)
	}
	for _, p := range r.Peers {
		if p.Health != "healthy" {
			add("to %s, %s is %s: %s", s.name, p.DC, p.Health, p.Reason)
		}
		if p.Verify != nil && p.Verify.State == "different" {
			add("the data of %s and %s differs in %d keys; see `geogate verify`", s.name, p.DC, p.Verify.Keys)
		}
	}
	return reasons
}

// homesUnwell is what is wrong with the home of the keyspace.
func (d *drill) homesUnwell(ctx context.Context) (reasons []string) {
	if !d.single() {
		return nil
	}
	open := false
	d.home = ""
	for _, s := range d.sites {
		k, err := s.keyspace(ctx, d.keyspace.Prefix)
		if err != nil {
			reasons = append(reasons, err.Error())
			continue
		}
		if d.home == "" {
			d.home = k.Home
		}
		if k.Home != d.home {
			reasons = append(reasons, fmt.Sprintf("%s holds %q to be the home of %q, others %q", s.name, k.Home, d.keyspace.Prefix, d.home))
		}
		open = open || k.Open
		for _, m := range k.Moves {
			if m.Result == "" {
				reasons = append(reasons, fmt.Sprintf("%s is moving the home of %q to %s; wait, or `geogate dr abort`", s.name, m.Keyspace, m.To))
			}
		}
	}
	if !open {
		reasons = append(reasons, fmt.Sprintf("keyspace %q has no home that takes writes; see `geogate dr status`", d.keyspace.Prefix))
	}
	return reasons
}

// keysInTheWay are those of another drill, and in a keyspace whose home the drill moves those of anybody.
func (d *drill) keysInTheWay(ctx context.Context) (reasons []string) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	kv, prefix := d.sites[0].client, d.scenario.Prefix
	count := func(prefix string) (int64, error) {
		resp, err := kv.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly(), clientv3.WithSerializable())
		if err != nil {
			return 0, fmt.Errorf("%s does not answer reads: %w", d.sites[0].name, err)
		}
		return resp.Count, nil
	}
	own, err := count(prefix)
	if err != nil {
		return []string{err.Error()}
	}
	if own > 0 {
		reasons = append(reasons, fmt.Sprintf("%d keys begin with %s: another drill runs, or was killed; if none does, remove them with `etcdctl del --prefix %s`", own, prefix, prefix))
	}
	moves := false
	for i := range d.scenario.Steps {
		moves = moves || d.scenario.Steps[i].movesHome()
	}
	if !moves || strings.HasPrefix(d.keyspace.Prefix, prefix) {
		return reasons
	}
	all, err := count(d.keyspace.Prefix)
	if err != nil {
		return append(reasons, err.Error())
	}
	if all > own {
		reasons = append(reasons, fmt.Sprintf("keyspace %q holds %d keys that are not the drill's, and their home would move too; give the drill a keyspace of its own", d.keyspace.Prefix, all-own))
	}
	return reasons
}
