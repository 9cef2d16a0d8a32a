package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"geogate/dc"
	"geogate/gateway"
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

// change is one entry of /v1/events: of a peer's health; of this datacenter's own clock; or when it names a
// keyspace, of the policy under which the writes of this datacenter are taken.
type change struct {
	DC       string    `json:"dc"`
	Keyspace *string   `json:"keyspace,omitempty"`
	At       time.Time `json:"at"`
	From     string    `json:"from"`
	To       string    `json:"to"`
	Reason   string    `json:"reason"`
}

// events answers with the changes of the peers' health, of this datacenter's clock and of policies, newest first, which the leader records.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	n, ok := limit(w, r)
	if !ok {
		return
	}
	var answer struct {
		Events any    `json:"events"` // []change; null when unknown
		Error  string `json:"events_error,omitempty"`
	}
	if _, leading := s.cfg.Leadership.Leading(); leading {
		answer.Events = s.changes(n)
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

func (s *Server) changes(limit int) []change {
	all := []change{}
	for _, p := range s.cfg.Peers.Peers() {
		for _, e := range p.HealthEvents {
			all = append(all, change{DC: p.DC, At: e.At, From: e.From.String(), To: e.To.String(), Reason: e.Reason})
		}
	}
	if s.cfg.Keyspaces != nil {
		for _, e := range s.cfg.Keyspaces.PolicyEvents() {
			all = append(all, change{DC: s.cfg.DC, Keyspace: &e.Keyspace, At: e.At, From: e.From, To: e.To, Reason: e.Reason})
		}
	}
	if s.cfg.Clock != nil {
		for _, e := range s.cfg.Clock.Clock().Events {
			all = append(all, change{DC: s.cfg.DC, At: e.At, From: string(e.From), To: string(e.To), Reason: e.Reason})
		}
	}
	slices.SortStableFunc(all, func(a, b change) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.DC, b.DC))
	})
	return all[:min(limit, len(all))]
}
