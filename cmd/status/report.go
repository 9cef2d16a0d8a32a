package status

// Report is what a node says of itself and, on the leader, of its peers.
type Report struct {
	DC       string           `json:"dc"`
	Node     string           `json:"node"`
	Leader   string           `json:"leader"` // node name; "" while there is none
	Term     uint64           `json:"term"`
	Revision int64            `json:"revision"`
	Vector   map[string]int64 `json:"vector"` // highest applied revision of every origin
	Peers    []Peer           `json:"peers"`  // null when unknown

	Clock *Clock `json:"clock"` // of the node that leads; null when unknown

	Members    []Member `json:"members"`     // the nodes of this datacenter; null from an older node
	PeersError string   `json:"peers_error"` // why Peers is null
	Problem    string   `json:"problem"`     // why the node can't serve fully; "" when it can
}

// Member is a node of this datacenter.
type Member struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"` // "" while it has not started yet
	Role       string   `json:"role"` // leader, voter, learner
	PeerURLs   []string `json:"peer_urls"`
	ClientURLs []string `json:"client_urls"`
}

// Clock is where the leader's clock stands.
type Clock struct {
	State       string   `json:"state"`    // unknown, within, fenced
	AheadMillis *float64 `json:"ahead_ms"` // of the median of the peers' clocks; nil is unknown
	LimitMillis float64  `json:"limit_ms"` // 0 is none
	Refused     string   `json:"refused"`  // why multi-writer writes are refused; "" when they are not
}

// Peer is another datacenter. A nil number is unknown, which is not zero.
type Peer struct {
	DC                 string   `json:"dc"`
	Health             string   `json:"health"` // healthy, suspected, down, recovering
	Reason             string   `json:"reason"`
	Cause              string   `json:"cause"`        // dc down, link broken, one-way, unknown; "" while both directions work
	CauseDetail        string   `json:"cause_detail"` // who says so
	AckedRevision      *int64   `json:"acked_revision"`
	LagTxns            *int64   `json:"lag_txns"`
	LagBytes           *int64   `json:"lag_bytes"`
	LagSeconds         *float64 `json:"lag_seconds"`
	RTTMillis          *float64 `json:"rtt_ms"`
	SkewMillis         *float64 `json:"skew_ms"` // its clock minus the leader's
	LastContactSeconds *float64 `json:"last_contact_seconds"`
	Verify             *Verify  `json:"verify"` // nil from a node of an older version
}

// Verify says whether the peer's data is known to be equal.
type Verify struct {
	State     string   `json:"state"` // off, unknown, pending, equal, different
	Reason    string   `json:"reason"`
	Buckets   int      `json:"buckets"`
	Equal     int      `json:"equal"`
	Pending   int      `json:"pending"`
	Different int      `json:"different"`
	Keys      int      `json:"different_keys"`
	LastOK    *float64 `json:"last_ok_age_seconds"` // since when all of it has been proven equal

	Keyspaces map[string]int `json:"different_keyspaces"` // of the keys, by prefix
	System    int            `json:"different_system_entries"`
}

// Leading says whether the node that made the report leads its datacenter.
func (r *Report) Leading() bool { return r.Leader != "" && r.Leader == r.Node }
