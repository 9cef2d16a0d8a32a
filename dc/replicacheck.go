package dc

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
)

const defaultReplicaCheckInterval = time.Minute

// checkTimeout bounds the wait until an item of a check is applied.
const checkTimeout = 10 * time.Second

// replicaMark is what a replica holds in front of an entry of the log. All replicas that have applied the same
// log hold the same there.
type replicaMark struct {
	Index     uint64 `json:"index"`
	Revision  int64  `json:"revision"`
	Digest    uint64 `json:"digest"`    // of all live keys
	System    uint64 `json:"system"`    // of the system table
	Positions uint64 `json:"positions"` // of the heads of all chains
	Member    uint64 `json:"member"`    // of the node that led
}

// same says whether two replicas held the same.
func (m replicaMark) same(other replicaMark) bool {
	m.Member, other.Member = 0, 0
	return m == other
}

// replicaCheck compares this replica with the one that leads. The leader proposes a mark: each replica, itself
// included, notes what it holds in front of that entry. Then it proposes what it noted itself, and each replica that
// has noted the same entry compares. Nothing of that is kept in the store, and nothing else depends on it.
// Both travel in the notes of confirmations, which older builds pass over.
type replicaCheck struct {
	mark   replicaMark // owned by the apply goroutine; zero: none since the start or the last snapshot
	told   atomic.Pointer[replicaMark]
	result atomic.Pointer[ReplicaCheck]
}

// ReplicaCheck is how this node's data compares with that of the node which leads its datacenter.
type ReplicaCheck struct {
	State   string    `json:"state"` // equal, different, or unknown: not compared since this node started
	At      time.Time `json:"at"`    // of the last comparison; zero for none
	Problem string    `json:"problem,omitempty"`
}

// ReplicaCheck is the outcome of the last comparison.
func (d *DC) ReplicaCheck() ReplicaCheck {
	if c := d.replica.result.Load(); c != nil {
		return *c
	}
	return ReplicaCheck{State: "unknown"}
}

// checkReplicas has the nodes compared while this one leads, until ctx ends.
func (d *DC) checkReplicas(ctx context.Context) {
	if d.cfg.ReplicaCheckInterval < 0 {
		return
	}
	tick := time.NewTicker(d.cfg.ReplicaCheckInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if _, leading := d.Leading(); !leading || len(d.Membership().Members) < 2 {
			continue
		}
		if err := d.checkReplicasOnce(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("the nodes of this datacenter could not be compared; the next round tries again", "error", err)
		}
	}
}

func (d *DC) checkReplicasOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := d.confirm(ctx, matrixEntry{}, note{Mark: true}); err != nil {
		return err
	}
	mine := d.replica.told.Load()
	if mine == nil {
		return nil // a snapshot came between
	}
	claim := *mine
	claim.Member = d.Leader()
	return d.confirm(ctx, matrixEntry{}, note{Check: &claim})
}

// check does what the note of a confirmation says of it.
func (a *applier) check(n *note) {
	r := &a.dc.replica
	if n.Mark {
		r.mark = a.holds()
		told := r.mark
		r.told.Store(&told)
	}
	if n.Check == nil || r.mark.Index == 0 || r.mark.Index != n.Check.Index {
		return
	}
	a.dc.compared(r.mark, *n.Check)
}

// holds is what this replica holds now, in the middle of an entry: behind the items that came before.
func (a *applier) holds() replicaMark {
	m := replicaMark{Index: a.index, Revision: a.batch.Revision(), Digest: a.dc.store.Digest()}
	var h xxhash.Digest
	h.Reset()
	for _, e := range a.batch.EachSystem("") {
		_, _ = fmt.Fprintf(&h, "%q %t %q %d %d %x\n", e.Name, e.Deleted, e.Geo.Origin, e.Geo.OriginRevision, e.Geo.Stamp, e.Value) // never fails
	}
	m.System = h.Sum64()
	h.Reset()
	positions := a.dc.state.positions
	for _, origin := range slices.Sorted(maps.Keys(positions)) {
		p := positions[origin]
		_, _ = fmt.Fprintf(&h, "%q %x %d %x\n", origin, p.Incarnation, p.Revision, p.Hash)
	}
	m.Positions = h.Sum64()
	return m
}

// compared takes note of the outcome, and says when it is another one than before.
func (d *DC) compared(mine, leaders replicaMark) {
	before := d.ReplicaCheck()
	now := ReplicaCheck{State: "equal", At: d.cfg.Now()}
	if !mine.same(leaders) {
		now.State = "different"
		now.Problem = fmt.Sprintf("this node's data differs from the leader's, member %016x, in front of log entry %d: run `geogate serve --rebuild` on this node;"+
			" if all other nodes of the datacenter say the same, it is the leader's that is wrong", leaders.Member, leaders.Index)
	}
	d.replica.result.Store(&now)
	d.metrics.replicaChecks.WithLabelValues(now.State).Inc()
	d.metrics.replicaDiffers.Set(0)
	if now.State == "different" {
		d.metrics.replicaDiffers.Set(1)
	}
	switch {
	case now.State == "different" && before.State != "different":
		d.log.Error("this node's data differs from the leader's although both have applied the same log: run `geogate serve --rebuild` on this node",
			"index", leaders.Index, "leader", fmt.Sprintf("%016x", leaders.Member),
			"digest", fmt.Sprintf("%016x", mine.Digest), "leaders_digest", fmt.Sprintf("%016x", leaders.Digest),
			"revision", mine.Revision, "leaders_revision", leaders.Revision,
			"system_differs", mine.System != leaders.System, "positions_differ", mine.Positions != leaders.Positions)
	case now.State == "equal" && before.State == "different":
		d.log.Info("this node's data is equal to the leader's again", "index", leaders.Index)
	}
}
