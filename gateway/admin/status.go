package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"geogate/replication"
	"geogate/replication/event"
)

// Status is the answer of /v1/status. Numbers that need all of their 64 bits are written in hexadecimal,
// because many readers of JSON have only 53.
type Status struct {
	DC       string       `json:"dc"`
	Node     string       `json:"node"`
	Leader   string       `json:"leader"` // name of the node that leads, "" when unknown
	Term     uint64       `json:"term"`
	Revision int64        `json:"revision"`
	Vector   event.Vector `json:"vector"`
	Peers    any          `json:"peers"` // []replication.PeerStatus; null when unknown
	// Keyspaces are []gateway.KeyspaceStatus; null when unknown, for the same reason as Peers.
	Keyspaces any `json:"keyspaces"`
	// Clock is replication.ClockStatus, of the node that leads; null when unknown, likewise.
	Clock any `json:"clock"`

	Members      []Member `json:"members"`               // the nodes of this datacenter as this node knows them
	PeersError   string   `json:"peers_error,omitempty"` // why peers, keyspaces and clock are null
	NodeID       string   `json:"node_id"`
	Incarnation  string   `json:"incarnation"`
	Digest       string   `json:"digest"` // of all live data, at vector
	CommitIndex  uint64   `json:"commit_index"`
	AppliedIndex uint64   `json:"applied_index"`
	Compacted    int64    `json:"compacted_revision"`
	Keys         int64    `json:"keys"`
	DBSizeBytes  int64    `json:"db_size_bytes"`
	DBInUseBytes int64    `json:"db_in_use_bytes"`
	Alarms       []string `json:"alarms,omitempty"` // as etcdctl alarm list shows them
	Problem      string   `json:"problem,omitempty"`
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	st := s.cfg.Inspector.State()
	answer := Status{
		DC: s.cfg.DC, Node: s.name(s.cfg.MemberID), Leader: s.name(st.Leader), Term: st.Term, Revision: st.Revision,
		Vector: st.Vector, NodeID: fmt.Sprintf("%016x", s.cfg.MemberID), Incarnation: fmt.Sprintf("%016x", st.Incarnation),
		Digest: fmt.Sprintf("%016x", st.Digest), CommitIndex: st.Commit, AppliedIndex: st.Applied, Compacted: st.Compacted,
		Keys: st.Keys, DBSizeBytes: st.DBSizeBytes, DBInUseBytes: st.DBInUseBytes, Problem: st.Problem,
		Alarms: st.Alarms,
	}
	if answer.Vector == nil {
		answer.Vector = event.Vector{}
	}
	known, err := s.known(r)
	answer.Peers, answer.Keyspaces, answer.Clock = known.peers, known.keyspaces, known.clock
	answer.Members = s.membersNow(st.Leader)
	if err != nil {
		answer.PeersError = err.Error()
	}
	s.answer(w, answer)
}

// leadersPart is what only the leader knows.
type leadersPart struct{ peers, keyspaces, clock any }

// known is what this node knows of the peers, keyspaces and its clock when it leads, else what the leader answers.
func (s *Server) known(r *http.Request) (k leadersPart, err error) {
	if _, leading := s.cfg.Leadership.Leading(); leading {
		peers := slices.Clone(s.cfg.Peers.Peers())
		if peers == nil {
			peers = []replication.PeerStatus{}
		}
		for i := range peers {
			peers[i].HealthEvents = nil // /v1/events has them
		}
		k.peers = peers
		if s.cfg.Keyspaces != nil {
			k.keyspaces = s.cfg.Keyspaces.Keyspaces()
		}
		if s.cfg.Clock != nil {
			c := s.cfg.Clock.Clock()
			c.Events = nil
			k.clock = c
		}
		return k, nil
	}
	var there struct {
		Peers     json.RawMessage `json:"peers"`
		Keyspaces json.RawMessage `json:"keyspaces"`
		Clock     json.RawMessage `json:"clock"`
		Error     string          `json:"peers_error"`
	}
	if err := s.askLeader(r, "/v1/status", &there); err != nil {
		return k, err
	}
	if there.Error != "" {
		return k, fmt.Errorf("the leader: %s", there.Error)
	}
	k = leadersPart{there.Peers, there.Keyspaces, there.Clock}
	if there.Clock == nil { // an older build
		k.clock = nil
	}
	return k, nil
}

// name is a member's name, its id when it has none, and "" for 0.
func (s *Server) name(id uint64) string {
	switch m, ok := s.member(id); {
	case id == 0:
		return ""
	case ok && m.Name != "":
		return m.Name
	default:
		return fmt.Sprintf("%016x", id)
	}
}
