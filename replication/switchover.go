package replication

import (
	"context"
	"fmt"
	"slices"
	"time"

	"geogate/replication/registrar"
)

// SwitchoverRequest asks for a planned move of a keyspace's home.
type SwitchoverRequest struct {
	Keyspace string        `json:"keyspace"`
	To       string        `json:"to"`
	Deadline time.Duration `json:"deadline_ns"` // until when it can be given up; 0 is the default
}

// Started is a move that has begun, and the DC that drives it.
type Started struct {
	DC   string               `json:"dc"`
	Move registrar.MoveStatus `json:"move"`
}

// Switchover begins a planned move at the home, wherever that is; [Engine.Moves] has its progress. It fails with what
// is in the way: another move, a target that holds no data, a home that can't be reached.
func (e *Engine) Switchover(ctx context.Context, q SwitchoverRequest) (Started, error) {
	l := e.current.Load()
	if l == nil {
		return Started{}, ErrNotLeading
	}
	if l.registrar == nil || !l.hasKeyspace(q.Keyspace) {
		return Started{}, fmt.Errorf("%w: %q", registrar.ErrKeyspace, q.Keyspace)
	}
	home := l.registrar.Standing(q.Keyspace).Home.DC
	if home == "" || home == e.cfg.Local {
		return l.switchHere(q)
	}
	var s Started
	if err := l.ask(ctx, home, methodSwitchover, q, &s); err != nil {
		return Started{}, fmt.Errorf("switchover of %q, whose home is %s: %w", q.Keyspace, home, err)
	}
	return s, nil
}

func (l *lead) switchHere(q SwitchoverRequest) (Started, error) {
	if l.registrar == nil {
		return Started{}, fmt.Errorf("%w: %q", registrar.ErrKeyspace, q.Keyspace)
	}
	m, err := l.registrar.Switch(q.Keyspace, q.To, q.Deadline)
	return Started{DC: l.cfg.Local, Move: m}, err
}

// Moves lists the moves of a keyspace that another DC, or this one, drives or drove.
func (e *Engine) Moves(ctx context.Context, dc, keyspace string) ([]registrar.MoveStatus, error) {
	l := e.current.Load()
	switch {
	case l == nil:
		return nil, ErrNotLeading
	case l.registrar == nil:
		return nil, fmt.Errorf("%w: %q", registrar.ErrKeyspace, keyspace)
	case dc == "" || dc == e.cfg.Local:
		return l.registrar.Moves(keyspace), nil
	}
	var out []registrar.MoveStatus
	err := l.ask(ctx, dc, methodMoves, SwitchoverRequest{Keyspace: keyspace}, &out)
	return out, err
}

// HomeStatus is the state of one single-writer keyspace as this DC sees it.
type HomeStatus struct {
	registrar.Status
	Configured string                 `json:"configured_home"`
	Peers      []HomePeer             `json:"peers"` // what would be lost if the home went now
	Moves      []registrar.MoveStatus `json:"moves"` // that this DC drives or drove, the newest last
}

// HomePeer is how far another DC is behind the home. Only the home knows; nil is unknown.
type HomePeer struct {
	DC      string   `json:"dc"`
	Witness bool     `json:"witness,omitempty"`
	Health  string   `json:"health"`
	Txns    *int64   `json:"lag_txns"`
	Bytes   *int64   `json:"lag_bytes"`
	Age     *float64 `json:"lag_seconds"`
}

// HomesStatus is the state of all single-writer keyspaces, by prefix.
func (e *Engine) HomesStatus() ([]HomeStatus, error) {
	r, err := e.Homes()
	if err != nil {
		return nil, err
	}
	peers := e.Peers()
	out := make([]HomeStatus, 0, len(e.cfg.Keyspaces))
	for _, k := range e.cfg.Keyspaces {
		s := HomeStatus{Status: r.Status(k.Prefix), Configured: k.Home, Moves: r.Moves(k.Prefix), Peers: []HomePeer{}}
		for _, p := range peers {
			h := HomePeer{DC: p.DC, Witness: p.Witness, Health: p.Health}
			if s.Home == e.cfg.Local {
				h.Txns, h.Bytes, h.Age = p.LagTxns, p.LagBytes, p.LagSeconds
			}
			s.Peers = append(s.Peers, h)
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b HomeStatus) int {
		if a.Keyspace < b.Keyspace {
			return -1
		}
		return 1
	})
	return out, nil
}

// Failover begins a failover of a keyspace to this DC.
func (e *Engine) Failover(keyspace string, deadline time.Duration) (Started, error) {
	r, err := e.Homes()
	if err != nil {
		return Started{}, err
	}
	m, err := r.FailOver(keyspace, deadline)
	return Started{DC: e.cfg.Local, Move: m}, err
}

// AbortMove gives up a move that this DC drives, if that is still possible.
func (e *Engine) AbortMove(keyspace string) error {
	r, err := e.Homes()
	if err != nil {
		return err
	}
	return r.Abort(keyspace)
}

// ForceHome makes this DC the home without a majority, in the epoch that it returns. See [registrar.Registrar.Force].
func (e *Engine) ForceHome(ctx context.Context, keyspace string) (epoch uint64, err error) {
	r, err := e.Homes()
	if err != nil {
		return 0, err
	}
	v, err := r.Force(ctx, keyspace)
	return v.Epoch, err
}
