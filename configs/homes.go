package configs

import (
	"slices"
	"time"
)

// leastHomeLease is the shortest lease whose renewals survive a slow fsync and a round trip.
const leastHomeLease = 500 * time.Millisecond

// mostHomeLease is what the arithmetic of leases covers.
const mostHomeLease = time.Hour

// mostDrift is far more than any clock that works.
const mostDrift = 100_000

// checkHome checks what only a single-writer keyspace has.
func (t *Topology) checkHome(report reporter, path string, k *Keyspace) {
	if k.Mode != SingleWriter {
		for _, x := range []struct {
			key   string
			there bool
		}{
			{"home", k.Home != ""}, {"forward", k.Forward != nil}, {"automatic_failover", k.AutomaticFailover != (AutomaticFailover{})},
		} {
			if x.there {
				report(join(path, x.key), "is only of a keyspace with mode: single-writer; in this one every datacenter writes")
			}
		}
		return
	}
	home, known := t.Datacenter(k.Home)
	switch {
	case k.Home == "":
		report(path+".home", "is missing; name the datacenter that is to be the first home: %v", t.DataNames())
	case !known:
		report(path+".home", "found %q, want the name of a datacenter of this file", k.Home)
	case home.Witness:
		report(path+".home", "is %q, a witness, which holds no data; name one of %v", k.Home, t.DataNames())
	}
	if k.AutomaticFailover.HoldOff < 0 {
		report(path+".automatic_failover.hold_off", "is %s, want more than 0, such as 5m", k.AutomaticFailover.HoldOff)
	}
	if k.AutomaticFailover.Enabled && len(t.Datacenters) < 3 {
		report(path+".automatic_failover.enabled", "needs 3 datacenters to tell a dead one from a broken link, and this cluster has %d; add one, a witness will do", len(t.Datacenters))
	}
	if k.Policy == "ANY" && len(t.DataNames()) > 3 {
		report(path+".policy", "ANY is no majority of %d datacenters, so a failover may lose what it acknowledged; use QUORUM, or ASYNC where that is meant", len(t.DataNames()))
	}
}

// checkWitness checks a datacenter that only votes.
func (t *Topology) checkWitness(report reporter, path string, d *Datacenter) {
	if !d.Witness {
		return
	}
	if len(d.Nodes) != 1 {
		report(path+".nodes", "has %d nodes, and a witness has one; its vote is as durable as that node's disk", len(d.Nodes))
	}
	if len(t.DataNames()) == 0 {
		report(path+".witness", "is true for every datacenter; at least one must hold data")
	}
	if !slices.ContainsFunc(t.Keyspaces, func(k Keyspace) bool { return k.Mode == SingleWriter }) {
		report(path+".witness", "is true, and there is no keyspace with mode: single-writer to vote on; add one, or remove the datacenter")
	}
}

func (t *Topology) checkLease(report reporter) {
	if l := t.Timing.HomeLease; l > 0 && (l < leastHomeLease || l > mostHomeLease) {
		report("timing.home_lease", "is %s, want %s to %s; 4s is the default", l, leastHomeLease, mostHomeLease)
	}
	if d := t.Timing.MaxClockDriftPPM; d < 0 || d > mostDrift {
		report("timing.max_clock_drift_ppm", "is %d, want 0 to %d; 1000 is the default, quartz is within 100", d, mostDrift)
	}
}
