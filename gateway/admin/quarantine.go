package admin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"geogate/replication"
)

// Quarantine is the writes of single-writer keyspaces that moves of a home have set aside.
type Quarantine interface {
	// Aside lists those of a keyspace behind a number, at most so many.
	Aside(keyspace string, after uint64, limit int) ([]AsideWrite, error)
	// DiscardAside forgets some of them for good, on the leader.
	DiscardAside(ctx context.Context, keyspace string, ids []uint64) error
	// Key is the present state of a key, as far as this node has applied.
	Key(key []byte) (KeyReport, error)
}

// KeyState names a state of a key by the write that brought it: the same in every datacenter. When it is not live, the
// write deleted the key, or no origin is named and nobody is known to have.
type KeyState struct {
	Origin   string `json:"origin"`
	Revision int64  `json:"origin_revision"`
	Stamp    uint64 `json:"stamp"`
	Live     bool   `json:"live"`
}

// KeyReport is the answer of GET /v1/dr/quarantine/key.
type KeyReport struct {
	DC      string `json:"dc"`
	Cluster string `json:"cluster_id"` // hexadecimal, as in the headers that clients of this datacenter get
	KeyState
	ModRevision int64 `json:"mod_revision"` // here; 0 when the key is not there
}

// QuarantineSummary is the answer of GET /v1/dr/quarantine/summary.
type QuarantineSummary struct {
	DC          string                `json:"dc"`
	Datacenters []replication.AsideAt `json:"datacenters"`
}

// AsideWrite is a write that a move of the home left out: committed in its own datacenter, applied nowhere else.
type AsideWrite struct {
	ID       uint64    `json:"id"`
	Keyspace string    `json:"keyspace"`
	Epoch    uint64    `json:"epoch"` // that it was written in; 0 is unknown
	Origin   string    `json:"origin"`
	Life     string    `json:"origin_life"`
	Revision int64     `json:"origin_revision"`
	Key      []byte    `json:"key"`
	Old      []byte    `json:"old"` // value before it; null for none
	New      []byte    `json:"new"`
	Deleted  bool      `json:"deleted"`
	Lease    int64     `json:"lease,omitempty"`
	Policy   string    `json:"policy,omitempty"`
	SetAside time.Time `json:"set_aside"`
	// Base is the state that the key got back, over which only writes that don't count had been made; null when an older
	// build has set this one aside.
	Base *KeyState `json:"base"`
}

// QuarantineReport is the answer of GET /v1/dr/quarantine.
type QuarantineReport struct {
	DC     string       `json:"dc"`
	Writes []AsideWrite `json:"writes"`
	More   bool         `json:"more"` // behind the last one
}

// DiscardRequest is the body of POST /v1/dr/quarantine/discard.
type DiscardRequest struct {
	Keyspace string   `json:"keyspace"`
	IDs      []uint64 `json:"ids"`
}

func (s *Server) quarantineList(r *http.Request, _ []byte) (any, error) {
	q := r.URL.Query()
	after, err := number(q, "after")
	if err != nil {
		return nil, err
	}
	limit, err := number(q, "limit")
	if err != nil {
		return nil, err
	}
	if limit == 0 || limit > maxLimit {
		limit = defaultLimit
	}
	writes, err := s.cfg.Quarantine.Aside(q.Get("keyspace"), after, int(limit)+1)
	if err != nil {
		return nil, err
	}
	out := QuarantineReport{DC: s.cfg.DC, Writes: []AsideWrite{}, More: len(writes) > int(limit)}
	out.Writes = append(out.Writes, writes[:min(len(writes), int(limit))]...)
	return out, nil
}

func (s *Server) quarantineDiscard(r *http.Request, body []byte) (any, error) {
	var q DiscardRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	if len(q.IDs) == 0 || len(q.IDs) > maxLimit {
		return nil, fmt.Errorf("%w: %d ids, want 1 to %d", errBadRequest, len(q.IDs), maxLimit)
	}
	return struct {
		Discarded int `json:"discarded"`
	}{len(q.IDs)}, s.cfg.Quarantine.DiscardAside(r.Context(), q.Keyspace, q.IDs)
}

func (s *Server) quarantineKey(r *http.Request, _ []byte) (any, error) {
	key, err := base64.URLEncoding.DecodeString(r.URL.Query().Get("key"))
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("%w: key is %q, want base64 of the URL kind", errBadRequest, r.URL.Query().Get("key"))
	}
	out, err := s.cfg.Quarantine.Key(key)
	out.DC = s.cfg.DC
	return out, err
}

func (s *Server) quarantineSummary(r *http.Request, _ []byte) (any, error) {
	list, err := s.cfg.Homes.AsideEverywhere(r.Context())
	if err != nil {
		return nil, err
	}
	return QuarantineSummary{DC: s.cfg.DC, Datacenters: list}, nil
}
