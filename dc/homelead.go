package dc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"geogate/replication/homes"
)

// barredLease is how long a lease may be that a restored datacenter has promised and forgotten, unless told.
const barredLease = time.Minute

func (d *DC) loadHomes() error {
	lost := time.Duration(0)
	if raw := d.store.Meta(metaHomesLost); raw != nil {
		var err error
		if lost, err = time.ParseDuration(string(raw)); err != nil {
			return fmt.Errorf("forgotten lease: %w: the store is damaged", err)
		}
	}
	if err := d.state.homes.load(d.store, lost); err != nil {
		return err
	}
	var err error
	if d.state.homes.multi, err = decodeMulti(d.store.Meta(metaMulti)); err != nil {
		return fmt.Errorf("%w: the store is damaged", err)
	}
	return nil
}

// Overrunning names the keyspaces of which writes that don't count are still being taken back here. Until that is done
// this DC applies no newer writes of them, its own included.
func (d *DC) Overrunning() []string { return d.published.Load().overruns }

// overrunRound is how often the leader looks at most whether there is something to go on with.
const overrunRound = 100 * time.Millisecond

// takeBackRest proposes the steps of taking back behind the first one, and what else the log should know, while this node
// leads.
func (d *DC) takeBackRest(ctx context.Context) {
	for ctx.Err() == nil {
		changed, moved := d.Changed(), d.LeadershipChanged()
		again := !d.tellMultiWriter(ctx)
		for len(d.Overrunning()) > 0 {
			if _, leading := d.Leading(); !leading {
				break
			}
			_, err := d.proposeHome(ctx, item{kind: kindHome})
			if err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotLeader) {
				d.log.Warn("could not go on with taking back writes that don't count", "error", err)
			}
			if err != nil || d.asideFull.Load() {
				again = true
				break
			}
		}
		if again {
			changed, moved = nil, nil
		}
		d.rest(ctx, changed, moved, overrunRound)
	}
}

// barHomes makes a restored datacenter's acceptors vote for nothing: what they promised and voted after the backup is
// lost, for the keyspaces in it as for those that came later. Who runs the register asks the others and admits it.
func (a *applier) barHomes(lease time.Duration) {
	if lease <= 0 {
		lease = barredLease
	}
	for _, r := range a.dc.state.homes.order {
		r.state, _ = r.state.Apply(homes.Command{Kind: homes.Bar, Keyspace: r.keyspace, Duration: lease}, nil)
		a.saveRegister(r)
	}
	a.batch.SetMeta(metaHomesLost, []byte(lease.String()))
}
