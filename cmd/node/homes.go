package node

import (
	"context"

	"geogate/configs"
	"geogate/dc"
	"geogate/gateway"
	"geogate/gateway/admin"
	"geogate/replication"
	"geogate/replication/homes"
	"geogate/replication/registrar"
)

var (
	_ registrar.Acceptor = (*dc.DC)(nil)
	_ gateway.Homes      = (*replication.Engine)(nil)
	_ gateway.Origins    = gateway.Local{}
)

// singleWriters translates the keyspaces that have a home.
func singleWriters(t *configs.Topology) (out []registrar.Keyspace) {
	for _, k := range t.SingleWriters() {
		out = append(out, registrar.Keyspace{
			Prefix: k.Prefix, Home: k.Home, Automatic: k.AutomaticFailover.Enabled, HoldOff: k.AutomaticFailover.HoldOff,
		})
	}
	return out
}

func homeLease(t *configs.Topology) homes.Terms {
	return homes.Terms{Duration: t.Timing.HomeLease, DriftPPM: int64(t.Timing.MaxClockDriftPPM)}
}

// calls hands the requests of other datacenters to the gateway, which is opened after the engine.
type calls struct{ node *Node }

func (c calls) Serve(ctx context.Context, from string, r replication.Request) replication.Reply {
	return c.node.gateway.Serve(ctx, from, r)
}

// quarantine shows writes that were set aside in the admin API's words.
type quarantine struct{ *dc.DC }

func (q quarantine) Aside(keyspace string, after uint64, limit int) ([]admin.AsideWrite, error) {
	writes, err := q.DC.Aside(keyspace, after, limit)
	out := make([]admin.AsideWrite, 0, len(writes))
	for _, w := range writes {
		out = append(out, admin.AsideWrite{
			ID: w.ID, Keyspace: w.Keyspace, Epoch: w.Epoch, Origin: w.Origin.DC, Life: w.Origin.String(), Revision: w.Revision,
			Key: w.Key, Old: w.Old, New: w.New, Deleted: w.Deleted, Lease: w.Lease, SetAside: w.SetAside,
		})
	}
	return out, err
}
