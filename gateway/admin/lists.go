package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"unicode/utf8"

	"geogate/dc"
	"geogate/gateway"
	"geogate/replication"
	"geogate/replication/health"
)

// conflict is one entry of /v1/conflicts: beside the bytes, which JSON has in base64, what of them is text.
type conflict struct {
	KeyText   string `json:"key_text,omitempty"`
	ValueText string `json:"value_text,omitempty"`
	dc.Conflict
}

func (s *Server) conflicts(w http.ResponseWriter, r *http.Request) {
	n, ok := limit(w, r)
	if !ok {
		return
	}
	entries, total, err := s.cfg.Conflicts.Conflicts(n)
	if err != nil {
		http.Error(w, err.Error(), gateway.HTTPStatus(err))
		return
	}
	answer := struct {
		Total     uint64     `json:"total"` // ever; the log keeps the newest
		Conflicts []conflict `json:"conflicts"`
	}{total, make([]conflict, 0, len(entries))}
	for _, e := range entries {
		answer.Conflicts = append(answer.Conflicts, conflict{text(e.Key), text(e.Value), e})
	}
	s.answer(w, answer)
}

// text is b as a string when it is one, else nothing.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return ""
}

// healthEvent is one change of a peer's health.
type healthEvent struct {
	DC string `json:"dc"`
	health.Event
}

// events answers with the changes of the peers' health, newest first, which the leader records.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	n, ok := limit(w, r)
	if !ok {
		return
	}
	var answer struct {
		Events any    `json:"events"` // []healthEvent; null when unknown
		Error  string `json:"events_error,omitempty"`
	}
	if _, leading := s.cfg.Leadership.Leading(); leading {
		answer.Events = eventsOf(s.cfg.Peers.Peers(), n)
		s.answer(w, answer)
		return
	}
	var there struct {
		Events json.RawMessage `json:"events"`
		Error  string          `json:"events_error"`
	}
	switch err := s.askLeader(r, fmt.Sprintf("/v1/events?limit=%d", n), &there); {
	case err != nil:
		answer.Error = err.Error()
	case there.Error != "":
		answer.Error = "the leader: " + there.Error
	default:
		answer.Events = there.Events
	}
	s.answer(w, answer)
}

func eventsOf(peers []replication.PeerStatus, limit int) []healthEvent {
	all := []healthEvent{}
	for _, p := range peers {
		for _, e := range p.HealthEvents {
			all = append(all, healthEvent{p.DC, e})
		}
	}
	slices.SortStableFunc(all, func(a, b healthEvent) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.DC, b.DC))
	})
	return all[:min(limit, len(all))]
}
