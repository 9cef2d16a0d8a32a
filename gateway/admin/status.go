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

	PeersError   string   `json:"peers_error,omitempty"` // why peers and keyspaces are null
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
	peers, spaces, err := s.peers(r)
	answer.Peers, answer.Keyspaces = peers, spaces
	if err != nil {
		answer.Peers, answer.Keyspaces, answer.PeersError = nil, nil, err.Error()
	}
	s.answer(w, answer)
}

// peers is what this node knows of the peers and keyspaces when it leads, else what the leader answers.
func (s *Server) peers(r *http.Request) (peers, spaces any, err error) {
	if _, leading := s.cfg.Leadership.Leading(); leading {
		peers := slices.Clone(s.cfg.Peers.Peers())
		if peers == nil {
			peers = []replication.PeerStatus{}
		}
		for i := range peers {
			peers[i].HealthEvents = nil // /v1/events has them
		}
		if s.cfg.Keyspaces == nil {
			return peers, nil, nil
		}
		return peers, s.cfg.Keyspaces.Keyspaces(), nil
	}
	var there struct {
		Peers     json.RawMessage `json:"peers"`
		Keyspaces json.RawMessage `json:"keyspaces"`
		Error     string          `json:"peers_error"`
	}
	if err := s.askLeader(r, "/v1/status", &there); err != nil {
		return nil, nil, err
	}
	if there.Error != "" {
		return nil, nil, fmt.Errorf("the leader: %s", there.Error)
	}
	return there.Peers, there.Keyspaces, nil
}

// name is a member's name, its id when it has none, and "" for 0.
func (s *Server) name(id uint64) string {
	switch m, ok := s.members[id]; {
	case id == 0:
		return ""
	case ok && m.Name != "":
		return m.Name
	default:
		return fmt.Sprintf("%016x", id)
	}
}
