package gateway

import "geogate/replication/policy"

// KeyspaceStatus is how a keyspace is doing, as the leader knows.
type KeyspaceStatus struct {
	Prefix string        `json:"prefix"`
	Policy policy.Policy `json:"policy"`
	MaxLag *BudgetStatus `json:"max_lag,omitempty"` // nil without bounds
}

// BudgetStatus is an RPO budget and how much of it is used up. Bounds of zero are none.
type BudgetStatus struct {
	AgeSeconds   float64  `json:"age_seconds,omitempty"`
	Transactions int64    `json:"transactions,omitempty"`
	Bytes        int64    `json:"bytes,omitempty"`
	OnExceed     OnExceed `json:"on_exceed"`
	UsedRatio    *float64 `json:"used_ratio"` // nil is unknown, and counts as over
	Peer         string   `json:"peer"`       // whose lag that is
}

// Keyspaces tells of every keyspace, "" first; nil where this node does not lead.
func (s *Server) Keyspaces() []KeyspaceStatus {
	if _, leading := s.dc.Leading(); !leading {
		return nil
	}
	st := s.standing.Load()
	var out []KeyspaceStatus
	s.keyspaces.each(func(prefix string, r rule) {
		k := KeyspaceStatus{Prefix: prefix, Policy: r.policy}
		if r.lag.bounded() {
			k.MaxLag = r.lag.status(st, r.policy)
		}
		out = append(out, k)
	})
	return out
}

func (m MaxLag) status(st *standing, p policy.Policy) *BudgetStatus {
	b := &BudgetStatus{AgeSeconds: m.Age.Seconds(), Transactions: m.Transactions, Bytes: m.Bytes, OnExceed: m.OnExceed}
	u := m.used(st.peers, p, pending{})
	if u.known() {
		b.UsedRatio = &u.ratio
	}
	if u.peer >= 0 {
		b.Peer = st.peers[u.peer].DC
	}
	return b
}
