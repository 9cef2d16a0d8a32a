package gateway

import (
	"time"

	"geogate/replication/policy"
)

// KeyspaceStatus is how a keyspace is doing, as the leader knows.
type KeyspaceStatus struct {
	Prefix string        `json:"prefix"`
	Policy policy.Policy `json:"policy"`
	MaxLag *BudgetStatus `json:"max_lag,omitempty"` // nil without bounds
	// Degraded is not nil while writes are taken under a weaker policy.
	Degraded *DegradedStatus `json:"degraded,omitempty"`
}

// DegradedStatus is a degradation that goes on.
type DegradedStatus struct {
	To     policy.Policy `json:"to"`
	Since  time.Time     `json:"since"`
	Bytes  int64         `json:"bytes"` // written meanwhile
	Reason string        `json:"reason"`
	Spent  string        `json:"spent,omitempty"` // the bound that was reached: writes fail
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
		if r.degrade != nil {
			k.Degraded = r.degrade.of[0].status()
		}
		out = append(out, k)
	})
	return out
}

func (d *degradation) status() *DegradedStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.spell.active {
		return nil
	}
	return &DegradedStatus{To: *d.limits.To, Since: d.spell.since, Bytes: d.spell.bytes, Reason: d.why, Spent: d.spell.spent}
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
