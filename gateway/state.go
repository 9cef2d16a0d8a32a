package gateway

import "geogate/replication/event"

// Inspector tells the state of this node; its methods may be called often and from any goroutine.
type Inspector interface {
	State() State
}

// State is what a node knows of itself at one moment.
type State struct {
	Term, Leader        uint64 // Leader is 0 when unknown
	Commit, Applied     uint64 // Raft indexes
	Revision, Compacted int64
	Keys                int64
	DBSizeBytes         int64 // of the file
	DBInUseBytes        int64 // of what is in it
	Incarnation         uint64
	Digest              uint64       // of all live data, taken together with Vector
	Vector              event.Vector // highest applied revision of every origin
	Alarms              []string     // that are raised, as Status words them
	Problem             string       // why the node can't serve fully; empty when it can
}
