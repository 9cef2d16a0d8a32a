package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"geogate/gateway"
)

// Server is one node's admin API.
type Server struct {
	cfg  Config
	http *http.Server
}

// New checks the configuration; it starts nothing. Errors wrap [ErrConfig].
func New(config Config) (*Server, error) {
	cfg := config.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	s := &Server{cfg: cfg}
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
	}
	return s, nil
}

// routes is the whole API.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("GET /v1/conflicts", s.conflicts)
	mux.HandleFunc("GET /v1/events", s.events)
	mux.HandleFunc("GET /v1/verify", s.verification)
	mux.HandleFunc("POST /v1/repair", s.repair)
	s.drRoutes(mux)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.cfg.Gatherer != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(s.cfg.Gatherer, promhttp.HandlerOpts{}))
	}
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// Run serves until ctx ends or the listener fails; it returns nil in the first case. It can be called once.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.cfg.Listener) }()
	select {
	case err := <-served:
		return errors.Join(fmt.Errorf("serve admin: %w", err), s.http.Close())
	case <-ctx.Done():
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.StopTimeout)
	defer cancel()
	if s.http.Shutdown(stopCtx) != nil {
		_ = s.http.Close() // what is left is cut off; there is nobody to tell
	}
	<-served
	return nil
}

// Addr is where the API is served.
func (s *Server) Addr() net.Addr { return s.cfg.Listener.Addr() }

// answer writes JSON.
func (s *Server) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		s.cfg.Logger.Debug("admin answer was not delivered", "error", err)
	}
}

// limit is how many items are asked for; a bad number is answered here and gives ok false.
func limit(w http.ResponseWriter, r *http.Request) (n int, ok bool) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return defaultLimit, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLimit {
		err := fmt.Errorf("%w: limit is %q, use a number from 1 to %d", gateway.ErrMetadata, text, maxLimit)
		http.Error(w, err.Error(), gateway.HTTPStatus(err))
		return 0, false
	}
	return n, true
}
