package replication

import (
	"context"
	"fmt"

	"geogate/replication/verify"
	"geogate/replication/wire"
)

// VerifyStatus says whether a peer's data is known to be equal to this DC's. A nil pointer is unknown.
type VerifyStatus struct {
	// State is off, unknown, pending (not every bucket was found equal yet since this node leads), equal or
	// different.
	State     string   `json:"state"`
	Reason    string   `json:"reason"` // why the last try to compare failed, or why nothing is known
	Buckets   int      `json:"buckets"`
	Equal     int      `json:"equal"`     // by the last round
	Pending   int      `json:"pending"`   // not equal, and not comparable at that moment
	Different int      `json:"different"` // not equal although both had applied the same, at least twice
	Keys      int      `json:"different_keys"`
	Rounds    uint64   `json:"rounds"`
	LastOK    *float64 `json:"last_ok_age_seconds"` // every bucket has been found equal since then
	LastRound *float64 `json:"last_round_age_seconds"`

	// Keyspaces counts the keys by keyspace, by its prefix; System are those that are no keys but entries of the
	// system table.
	Keyspaces map[string]int `json:"different_keyspaces,omitempty"`
	System    int            `json:"different_system_entries,omitempty"`
}

// Verification is the comparison with one peer with the keys that differ.
type Verification struct {
	DC string `json:"dc"`
	VerifyStatus
	Differences []Difference `json:"differences"`
	More        bool         `json:"more"` // there are more keys than are named
}

// Verify is the state of the comparison with each peer, in the order of the configuration. With run, rounds
// follow each other closely for some seconds, beginning now.
func (e *Engine) Verify(run bool) []Verification {
	l := e.current.Load()
	out := make([]Verification, 0, len(e.cfg.Peers))
	for _, p := range e.cfg.Peers {
		if p.Witness || e.cfg.Witness {
			continue // there is nothing to compare
		}
		v := Verification{DC: p.Name, VerifyStatus: VerifyStatus{State: "unknown", Reason: "this node does not lead its datacenter"}}
		if l != nil {
			c := l.peers[p.Name].comparison
			if run {
				c.want()
			}
			v.VerifyStatus = c.status()
			c.mu.Lock()
			v.Differences, v.More = append([]Difference{}, c.found...), c.more
			c.mu.Unlock()
		}
		out = append(out, v)
	}
	return out
}

func (c *comparison) status() VerifyStatus {
	if c.l.cfg.Verified == nil || c.l.cfg.VerifyInterval == 0 {
		return VerifyStatus{State: "off", Reason: "verification.interval is 0"}
	}
	now := c.l.cfg.Clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := VerifyStatus{State: "unknown", Reason: c.reason, Rounds: c.rounds, Keys: len(c.found)}
	if c.book == nil {
		return s
	}
	s.Equal, s.Pending, s.Different = c.book.Counts()
	s.Buckets = s.Equal + s.Pending + s.Different
	s.LastRound = seconds(now.Sub(c.round))
	s.Keyspaces, s.System = c.tally.Keyspaces, c.tally.System // nobody changes the map
	s.State = "pending"
	if oldest, ok := c.book.Oldest(); ok {
		s.State = "equal"
		s.LastOK = seconds(now.Sub(oldest))
	}
	if s.Different > 0 {
		s.State = "different"
	}
	if s.Reason == "" && !c.lives && s.Pending > 0 {
		s.Reason = "an origin has begun a new life that one side has not taken over yet"
	}
	return s
}

// RepairKey takes the state of a key from another DC and puts it in the place of the version that was seen
// here. It says whether that was still there.
func (e *Engine) RepairKey(ctx context.Context, from string, seen verify.Copy) (applied bool, err error) {
	if seen.System {
		return false, fmt.Errorf("%w: %q is an entry of the system table, of users, roles and settings: make the change that it should hold once more"+
			" (`etcdctl user` or `role`, in any datacenter), the later one wins everywhere", ErrRepair, seen.Key)
	}
	l := e.current.Load()
	if l == nil {
		return false, ErrNotLeading
	}
	p := l.peers[from]
	if p == nil {
		return false, fmt.Errorf("%w: %q is no peer of %s", ErrRepair, from, e.cfg.Local)
	}
	k := p.receiver.link.Load()
	if e.cfg.Verified == nil || k == nil || !k.verifies.Load() {
		return false, fmt.Errorf("%w: %s can't be asked for its copy of %q now: it is not connected, or of an older version", ErrRepair, from, seen.Key)
	}
	var state []byte
	_, err = k.fetch(ctx, &wire.FetchRequest{What: &wire.FetchRequest_Key{Key: &wire.KeyCursor{Key: seen.Key}}},
		func(_ *wire.FetchReply, piece []byte) error {
			state = piece
			return nil
		})
	if err != nil {
		return false, fmt.Errorf("%w: copy of %q from %s: %w", ErrRepair, seen.Key, from, err)
	}
	applied, err = e.cfg.Verified.Repair(ctx, seen, state)
	if err != nil {
		return false, fmt.Errorf("%w: %q: %w", ErrRepair, seen.Key, err)
	}
	what := "was repaired"
	if !applied {
		what = "was not repaired: a newer write has taken the place of the wrong copy"
	}
	e.cfg.Logger.Warn("repair of a key", "key", string(seen.Key), "keyspace", verify.KeyspaceOf(e.cfg.Prefixes, seen.Key), "from", from, "applied", applied)
	p.comparison.event(fmt.Sprintf("key %q %s", seen.Key, what))
	for _, other := range l.peers {
		other.comparison.want()
	}
	return applied, nil
}
