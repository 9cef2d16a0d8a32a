package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"geogate/dc"
	"geogate/replication"
	"geogate/replication/verify"
)

// Verification compares this datacenter's data with that of its peers while this node leads.
// [replication.Engine] is one.
type Verification interface {
	// Verify is how the comparison stands with each peer. With run, it is done again at once.
	Verify(run bool) []replication.Verification
	// RepairKey puts a peer's copy of a key in the place of the version that was seen here.
	RepairKey(ctx context.Context, from string, seen verify.Copy) (applied bool, err error)
}

// Replica compares this node's data with that of the node which leads. [dc.DC] is one.
type Replica interface {
	ReplicaCheck() dc.ReplicaCheck
}

const (
	repairTimeout  = 20 * time.Second
	maxRepairBytes = 1 << 20 // of a request; it holds a key and no value
)

// Repair is the body of POST /v1/repair: the datacenter whose copy is right, and the wrong one that was seen
// here.
type Repair struct {
	From string      `json:"from"`
	Seen verify.Copy `json:"seen"`
}

// verification answers with the comparison with each peer, which the leader keeps.
func (s *Server) verification(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Verification == nil {
		http.NotFound(w, r)
		return
	}
	run := r.URL.Query().Get("run") == "true"
	var answer struct {
		DC    string `json:"dc"`
		Node  string `json:"node"`
		Peers any    `json:"peers"` // []replication.Verification; null when unknown
		Error string `json:"peers_error,omitempty"`
		// Replica compares this node with the one that leads, within the datacenter.
		Replica any `json:"replica,omitempty"` // dc.ReplicaCheck
		// Keyspaces are the prefixes of all keyspaces, as the leader has them.
		Keyspaces []string `json:"keyspaces,omitempty"`
	}
	if s.cfg.Keyspaces != nil {
		for _, k := range s.cfg.Keyspaces.Keyspaces() {
			answer.Keyspaces = append(answer.Keyspaces, k.Prefix)
		}
	}
	if s.cfg.Replica != nil {
		answer.Replica = s.cfg.Replica.ReplicaCheck()
	}
	answer.DC, answer.Node = s.cfg.DC, s.name(s.cfg.MemberID)
	if _, leading := s.cfg.Leadership.Leading(); leading {
		answer.Peers = s.cfg.Verification.Verify(run)
		s.answer(w, answer)
		return
	}
	var there struct {
		Peers     json.RawMessage `json:"peers"`
		Error     string          `json:"peers_error"`
		Keyspaces []string        `json:"keyspaces"`
	}
	switch err := s.askLeader(r, fmt.Sprintf("/v1/verify?run=%t", run), &there); {
	case err != nil:
		answer.Error = err.Error()
	case there.Error != "":
		answer.Error = "the leader: " + there.Error
	default:
		answer.Peers, answer.Keyspaces = there.Peers, there.Keyspaces
	}
	s.answer(w, answer)
}

// repair puts one key right, on the leader.
func (s *Server) repair(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Verification == nil {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRepairBytes))
	var want Repair
	if err == nil {
		err = json.Unmarshal(body, &want)
	}
	if err != nil || want.From == "" || len(want.Seen.Key) == 0 {
		http.Error(w, fmt.Sprintf("not a repair, want {\"from\": DC, \"seen\": COPY} as GET /v1/verify has copies: %v", err), http.StatusBadRequest)
		return
	}
	var answer struct {
		Applied bool `json:"applied"`
	}
	if _, leading := s.cfg.Leadership.Leading(); leading {
		ctx, cancel := context.WithTimeout(r.Context(), repairTimeout)
		defer cancel()
		answer.Applied, err = s.cfg.Verification.RepairKey(ctx, want.From, want.Seen)
	} else {
		err = s.tellLeader(r, http.MethodPost, "/v1/repair", bytes.NewReader(body), repairTimeout, &answer)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	s.answer(w, answer)
}
