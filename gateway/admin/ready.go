package admin

import (
	"context"
	"fmt"
	"net/http"
)

// healthz says that the process answers, and nothing more: restarting it would not help against anything
// that readyz reports.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	_, _ = fmt.Fprintln(w, "ok") // an error means that nobody listens any more
}

// readyz says whether this node can serve linearizable requests, and if not, why.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if p := s.cfg.Inspector.State().Problem; p != "" { // a broken disk is why there is no leader, not the other way round
		unready(w, p)
		return
	}
	if s.cfg.Leadership.Leader() == 0 {
		unready(w, "no leader is known")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.AskTimeout)
	defer cancel()
	if err := s.cfg.Ready(ctx); err != nil {
		unready(w, fmt.Sprintf("what the leader has committed could not be confirmed and applied here within %s: %v", s.cfg.AskTimeout, err))
		return
	}
	_, _ = fmt.Fprintln(w, "ready")
}

func unready(w http.ResponseWriter, why string) {
	http.Error(w, "not ready: "+why, http.StatusServiceUnavailable)
}
