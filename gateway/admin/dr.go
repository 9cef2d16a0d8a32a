package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"geogate/replication"
	"geogate/replication/registrar"
)

// Homes moves the homes of single-writer keyspaces while this node leads. [replication.Engine] is one.
type Homes interface {
	HomesStatus() ([]replication.HomeStatus, error)
	// Ledger says what a failover to this datacenter would lose.
	Ledger(ctx context.Context, keyspace string, forced bool) (replication.Ledger, error)
	// Moves are those that a datacenter drives or drove; "" is this one.
	Moves(ctx context.Context, dc, keyspace string) ([]registrar.MoveStatus, error)
	Switchover(ctx context.Context, q replication.SwitchoverRequest) (replication.Started, error)
	Failover(keyspace string, deadline time.Duration) (replication.Started, error)
	ForceHome(ctx context.Context, keyspace string) (epoch uint64, err error)
	AbortMove(keyspace string) error
	// AsideEverywhere is what moves have set aside in every datacenter, as far as that can be asked.
	AsideEverywhere(ctx context.Context) ([]replication.AsideAt, error)
}

var _ Homes = (*replication.Engine)(nil)

const (
	drTimeout  = 15 * time.Second // moves only begin within it
	maxDRBytes = 1 << 20          // of a request
)

// HomesReport is the answer of GET /v1/dr.
type HomesReport struct {
	DC        string                   `json:"dc"`
	Node      string                   `json:"node"`
	Keyspaces []replication.HomeStatus `json:"keyspaces"`
}

// FailoverRequest is the body of POST /v1/dr/failover. A forced one must repeat the keyspace in Confirm.
type FailoverRequest struct {
	Keyspace string        `json:"keyspace"`
	Deadline time.Duration `json:"deadline_ns"`
	Force    bool          `json:"force"`
	Confirm  string        `json:"confirm"`
}

// Failover is its answer: a move that has begun, or the epoch of a forced home.
type Failover struct {
	replication.Started
	Forced uint64 `json:"forced_epoch,omitempty"`
}

func (s *Server) drRoutes(mux *http.ServeMux) {
	handle := func(pattern string, do func(*http.Request, []byte) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.onLeader(w, r, do) })
	}
	if s.cfg.Homes == nil {
		mux.HandleFunc("/v1/dr", withoutHomes)
		mux.HandleFunc("/v1/dr/", withoutHomes)
	} else {
		handle("GET /v1/dr", s.drStatus)
		handle("GET /v1/dr/ledger", s.drLedger)
		handle("GET /v1/dr/moves", s.drMoves)
		handle("POST /v1/dr/switchover", s.drSwitchover)
		handle("POST /v1/dr/failover", s.drFailover)
		handle("POST /v1/dr/abort", s.drAbort)
		handle("GET /v1/dr/quarantine/summary", s.quarantineSummary)
	}
	if s.cfg.Quarantine != nil {
		handle("GET /v1/dr/quarantine", s.quarantineList)
		handle("GET /v1/dr/quarantine/key", s.quarantineKey)
		handle("POST /v1/dr/quarantine/discard", s.quarantineDiscard)
	}
}

// withoutHomes answers where nothing can be moved.
func withoutHomes(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "no keyspace of this cluster is single-writer, so none has a home; give one `mode: single-writer` in the configuration of every node",
		http.StatusNotFound)
}

// onLeader has the node that leads do something, and passes its answer on.
func (s *Server) onLeader(w http.ResponseWriter, r *http.Request, do func(*http.Request, []byte) (any, error)) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxDRBytes))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), drTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	if _, leading := s.cfg.Leadership.Leading(); leading {
		answer, err := do(r, body)
		if err != nil {
			http.Error(w, err.Error(), drCode(err))
			return
		}
		s.answer(w, answer)
		return
	}
	var answer json.RawMessage
	if err := s.tellLeader(r, r.Method, r.URL.RequestURI(), bytes.NewReader(body), drTimeout, &answer); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	s.answer(w, answer)
}

func drCode(err error) int {
	switch {
	case errors.Is(err, errBadRequest):
		return http.StatusBadRequest
	case errors.Is(err, registrar.ErrKeyspace):
		return http.StatusNotFound
	case errors.Is(err, registrar.ErrMoving), errors.Is(err, registrar.ErrTarget), errors.Is(err, registrar.ErrNoMove), errors.Is(err, registrar.ErrLost):
		return http.StatusConflict
	}
	return http.StatusServiceUnavailable
}

// errBadRequest marks a request that can't be carried out as it is.
var errBadRequest = errors.New("bad request")

func (s *Server) drStatus(*http.Request, []byte) (any, error) {
	list, err := s.cfg.Homes.HomesStatus()
	if err != nil {
		return nil, err
	}
	return HomesReport{DC: s.cfg.DC, Node: s.name(s.cfg.MemberID), Keyspaces: list}, nil
}

func (s *Server) drLedger(r *http.Request, _ []byte) (any, error) {
	q := r.URL.Query()
	return s.cfg.Homes.Ledger(r.Context(), q.Get("keyspace"), q.Get("force") == "true")
}

func (s *Server) drMoves(r *http.Request, _ []byte) (any, error) {
	q := r.URL.Query()
	return s.cfg.Homes.Moves(r.Context(), q.Get("dc"), q.Get("keyspace"))
}

func (s *Server) drSwitchover(r *http.Request, body []byte) (any, error) {
	var q replication.SwitchoverRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	return s.cfg.Homes.Switchover(r.Context(), q)
}

func (s *Server) drFailover(r *http.Request, body []byte) (any, error) {
	var q FailoverRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	if !q.Force {
		started, err := s.cfg.Homes.Failover(q.Keyspace, q.Deadline)
		return Failover{Started: started}, err
	}
	if q.Confirm != q.Keyspace {
		return nil, fmt.Errorf("%w: a forced failover loses acknowledged writes, so the keyspace's name must be repeated: found %q, want %q", errBadRequest, q.Confirm, q.Keyspace)
	}
	epoch, err := s.cfg.Homes.ForceHome(r.Context(), q.Keyspace)
	return Failover{Started: replication.Started{DC: s.cfg.DC}, Forced: epoch}, err
}

func (s *Server) drAbort(_ *http.Request, body []byte) (any, error) {
	var q struct {
		Keyspace string `json:"keyspace"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	return struct{}{}, s.cfg.Homes.AbortMove(q.Keyspace)
}

// number reads a number of a query; 0 when there is none.
func number(q url.Values, name string) (uint64, error) {
	text := q.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %s is %q, use a number", errBadRequest, name, text)
	}
	return n, nil
}
