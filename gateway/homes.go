package gateway

import (
	"context"

	"geogate/dc/store"
	"geogate/replication"
	"geogate/replication/event"
	"geogate/replication/homes"
)

// Caller reaches the other datacenters.
type Caller interface {
	// Call asks the node that leads another datacenter, whose gateway answers with [Server.Serve]. The errors
	// are [replication.ErrNotDelivered], after which nothing happened there, [replication.ErrUnknownOutcome], or
	// [replication.ErrNotLeading], because only this datacenter's leader has connections. After any other error the
	// outcome is taken for unknown.
	Call(ctx context.Context, dc string, r replication.Request) (replication.Reply, error)
}

// Homes knows the homes of single-writer keyspaces, and reaches the other datacenters.
type Homes interface {
	Caller

	// Standing is what is known of a keyspace's home now. It is complete where this node leads; elsewhere Here and
	// Reading may be false although this datacenter is the home. It is called for every request: it must be cheap.
	Standing(keyspace string) replication.Standing
}

// Origins is where this node's data comes from: the registers of homes and the chains that it has applied, and which
// version of a key came with which transaction.
type Origins interface {
	Life() homes.Life // this datacenter and the incarnation of its data
	// Register is what this replica has applied of a keyspace's register.
	Register(keyspace string) (homes.Register, bool)
	// AppliedOf is how far this replica has applied what a life wrote; of its own life all of it.
	AppliedOf(homes.Life) int64
	// Marks are the places where this replica stands in each life of each origin, its own included. They must not be changed.
	Marks() (marks []event.Mark, revision int64, high event.Stamp)
	// LatestOf is a local revision at or behind the last write of this datacenter in a keyspace: whoever has read the
	// data before has seen nothing later.
	LatestOf(keyspace string) int64
	// Latest is the newest version of a key, nil when it is not there.
	Latest(key []byte) (*store.Version, error)
	// Attached are the keys of single-writer keyspaces that end with a lease at another datacenter, their home.
	Attached(home string, lease int64) [][]byte
	// Locate finds the local revision at which a transaction of an origin was applied, and the last one at which
	// nothing of the origin is newer; see [store.Store.Locate].
	Locate(origin string, revision, since int64) (at, last int64, err error)
}
