package replication

import (
	"time"

	"geogate/replication/homes"
)

// Standing is what this datacenter knows of the home of a single-writer keyspace at one moment.
type Standing struct {
	Keyspace string     // prefix
	Home     homes.Life // the zero Life while there is none
	Epoch    uint64
	Here     bool      // this datacenter is the home and takes writes: past covered, lease held, not fenced, not draining
	Reading  bool      // this datacenter may serve linearizable reads
	Until    time.Time // of the lease, monotonic; zero when there is none or the home was forced
	Why      string    // why the home can't serve, as far as that is known here; empty when it can
}
