package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// forwardedHeader is the loop guard: a question that carries it is answered from what is known here.
const forwardedHeader = "Geogate-Forwarded"

var (
	errNoLeader   = errors.New("no leader is known")
	errNotLeading = errors.New("this node does not lead")
)

// askLeader gets path from the leader's admin API, within AskTimeout.
func (s *Server) askLeader(r *http.Request, path string, into any) error {
	return s.tellLeader(r, http.MethodGet, path, nil, s.cfg.AskTimeout, into)
}

// tellLeader sends a request to the leader's admin API.
func (s *Server) tellLeader(r *http.Request, method, path string, body io.Reader, within time.Duration, into any) error {
	if r.Header.Get(forwardedHeader) != "" {
		return errNotLeading
	}
	id := s.cfg.Leadership.Leader()
	m, ok := s.member(id)
	switch {
	case id == 0, id == s.cfg.MemberID:
		return errNoLeader // elected and not ready yet is the same to the one who asks
	case !ok:
		return fmt.Errorf("the leader %s is not among the members", s.name(id))
	case m.AdminURL == "":
		return fmt.Errorf("the admin address of the leader %s is not configured", s.name(id))
	}
	ctx, cancel := context.WithTimeout(r.Context(), within)
	defer cancel()
	url := strings.TrimSuffix(m.AdminURL, "/") + path
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return fmt.Errorf("ask the leader %s: %w", s.name(id), err)
	}
	req.Header.Set(forwardedHeader, s.name(s.cfg.MemberID))
	resp, err := s.cfg.Client.Do(req)
	if err != nil && method == http.MethodPost {
		return fmt.Errorf("ask the leader %s: whether it has begun is not known, look before you ask again: %w", s.name(id), err)
	}
	if err != nil {
		return fmt.Errorf("ask the leader %s: %w", s.name(id), err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // what could be read is told
		return fmt.Errorf("ask the leader %s: HTTP %s %s", s.name(id), resp.Status, strings.TrimSpace(string(text)))
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReplyBytes)).Decode(into); err != nil {
		return fmt.Errorf("ask the leader %s: %w", s.name(id), err)
	}
	return nil
}
