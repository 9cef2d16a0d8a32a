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

// Peer is another datacenter. A nil number is unknown, which is not zero.
type Peer struct {
	DC                 string   `json:"dc"`
	Health             string   `json:"health"` // healthy, suspected, down, recovering
	Reason             string   `json:"reason"`
	AckedRevision      *int64   `json:"acked_revision"`
	LagTxns            *int64   `json:"lag_txns"`
	LagBytes           *int64   `json:"lag_bytes"`
	LagSeconds         *float64 `json:"lag_seconds"`
	RTTMillis          *float64 `json:"rtt_ms"`
	LastContactSeconds *float64 `json:"last_contact_seconds"`
}

// Leading says whether the node that made the report leads its datacenter.
func (r *Report) Leading() bool { return r.Leader != "" && r.Leader == r.Node }
