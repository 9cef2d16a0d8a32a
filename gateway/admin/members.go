package admin

import (
	"fmt"
	"slices"

	"geogate/gateway"
)

// Member is one node of this datacenter in /v1/status.
type Member struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"` // "" until it has started for the first time
	Role       string   `json:"role"` // leader, voter or learner
	PeerURLs   []string `json:"peer_urls"`
	ClientURLs []string `json:"client_urls"`
}

// member finds a node of this datacenter.
func (s *Server) member(id uint64) (gateway.Member, bool) {
	all := s.cfg.Members()
	i := slices.IndexFunc(all, func(m gateway.Member) bool { return m.ID == id })
	if i < 0 {
		return gateway.Member{}, false
	}
	return all[i], true
}

func (s *Server) membersNow(leader uint64) []Member {
	out := []Member{}
	for _, m := range s.cfg.Members() {
		role := "voter"
		switch {
		case m.Learner:
			role = "learner"
		case m.ID == leader:
			role = "leader"
		}
		out = append(out, Member{
			ID: fmt.Sprintf("%016x", m.ID), Name: m.Name, Role: role,
			PeerURLs: append([]string{}, m.PeerURLs...), ClientURLs: append([]string{}, m.ClientURLs...),
		})
	}
	return out
}
