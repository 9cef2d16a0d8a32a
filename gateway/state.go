package gateway

import (
	"time"

	"geogate/replication/event"
)

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
	Problem             string       // why the node can't serve fully; empty when it can
}

// PeerStatus is what the leader knows of another datacenter. A nil field is unknown, which is not the same as
// zero and is shown as null.
type PeerStatus struct {
	DC            string   `json:"dc"`
	Health        string   `json:"health"` // healthy, suspected, down, recovering
	Reason        string   `json:"reason"`
	AckedRevision *int64   `json:"acked_revision"`
	LagTxns       *int64   `json:"lag_txns"`
	LagBytes      *int64   `json:"lag_bytes"`
	LagSeconds    *float64 `json:"lag_seconds"`
	RTTMillis     *float64 `json:"rtt_ms"`
	LastContact   *float64 `json:"last_contact_seconds"`
}

// HealthEvent is one change of a peer's health.
type HealthEvent struct {
	Time   time.Time `json:"time"`
	DC     string    `json:"dc"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Reason string    `json:"reason"`
}

// Conflict is one write that lost against a later one of another datacenter.
type Conflict struct {
	Key    []byte
	Winner Side
	Loser  Side
}

// Side is one of the two writes of a conflict.
type Side struct {
	Origin   string
	Revision int64 // origin revision
	Stamp    event.Stamp
	Deleted  bool
	Value    []byte // as far as it was kept
}
