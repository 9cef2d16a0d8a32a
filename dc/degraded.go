package dc

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"geogate/replication/event"
)

// Degraded says of a write that it is taken under a weaker policy than it asked for, in the account of some
// keyspaces. It goes with the write, so what was written under it is counted exactly, whoever leads.
type Degraded struct {
	Keyspaces []string `json:"keyspaces"` // their prefixes
	Policy    uint8    `json:"policy"`    // that was asked for
	Bytes     int64    `json:"bytes"`
}

// Degradation is what was written under a weaker policy in one keyspace, since it began.
type Degradation struct {
	Began event.Stamp `json:"began"` // of the first write; tells two degradations apart
	Bytes int64       `json:"bytes"`
	Low   uint8       `json:"low"`  // weakest policy that was asked for
	High  uint8       `json:"high"` // strongest
	// Seen is when this replica applied the first write, by its own monotonic clock; after a restart it is made of the
	// stamp. It is not part of the replicated state.
	Seen time.Time `json:"-"`
}

// left ends a degradation: what was counted up to here.
type left struct {
	Began event.Stamp `json:"began"`
	Bytes int64       `json:"bytes"`
}

type degradedKey struct{}

// WithDegraded makes a write with the returned context count as degraded.
func WithDegraded(ctx context.Context, g Degraded) context.Context {
	return context.WithValue(ctx, degradedKey{}, &g)
}

// DegradedOf is what WithDegraded has put into a context; nil for nothing.
func DegradedOf(ctx context.Context) *Degraded {
	g, _ := ctx.Value(degradedKey{}).(*Degraded)
	return g
}

// Degraded are the degradations that go on, by keyspace. The map must not be changed.
func (d *DC) Degraded() map[string]Degradation { return d.published.Load().degraded }

// EndDegraded records that degradations are over. What was written under them after they were read goes on
// to count, as new ones.
func (d *DC) EndDegraded(ctx context.Context, over map[string]Degradation) error {
	n := note{Left: map[string]left{}}
	for prefix, g := range over {
		n.Left[prefix] = left{Began: g.Began, Bytes: g.Bytes}
	}
	return d.confirm(ctx, matrixEntry{}, n)
}

// countDegraded adds a write that was applied to the accounts that its note names.
func (a *applier) countDegraded(raw []byte, c Commit) error {
	if raw == nil || c.Revision == 0 || c.Repeated {
		return nil
	}
	var g Degraded
	if err := json.Unmarshal(raw, &g); err != nil {
		return fmt.Errorf("%w: note of a write: %w", ErrMalformed, err)
	}
	s := &a.dc.state
	s.degraded = maps.Clone(s.degraded) // readers have the old one
	if s.degraded == nil {
		s.degraded = map[string]Degradation{}
	}
	for _, prefix := range g.Keyspaces {
		t, known := s.degraded[prefix]
		if !known {
			t = Degradation{Began: c.Stamp, Low: g.Policy, High: g.Policy, Seen: time.Now()}
		}
		t.Bytes += g.Bytes
		t.Low, t.High = min(t.Low, g.Policy), max(t.High, g.Policy)
		s.degraded[prefix] = t
	}
	return a.saveDegraded()
}

// endDegraded closes accounts.
func (a *applier) endDegraded(over map[string]left) error {
	if len(over) == 0 {
		return nil
	}
	s := &a.dc.state
	s.degraded = maps.Clone(s.degraded)
	for prefix, l := range over {
		t, known := s.degraded[prefix]
		switch {
		case !known || t.Began != l.Began:
		case t.Bytes <= l.Bytes:
			delete(s.degraded, prefix)
		default:
			t.Bytes -= l.Bytes
			t.Began, t.Seen = a.entry.stamp, time.Now()
			s.degraded[prefix] = t
		}
	}
	return a.saveDegraded()
}

func (a *applier) saveDegraded() error {
	raw, err := json.Marshal(a.dc.state.degraded)
	if err != nil {
		return err
	}
	a.batch.SetMeta(metaDegraded, raw)
	return nil
}

// decodeDegraded reads the accounts; how long they have been open is known from their stamps only.
func decodeDegraded(raw []byte) (map[string]Degradation, error) {
	if raw == nil {
		return nil, nil
	}
	var all map[string]Degradation
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("degradations: %w: the store is damaged", err)
	}
	for prefix, t := range all {
		now := time.Now()
		t.Seen = now.Add(-max(0, now.Sub(t.Began.Time())))
		all[prefix] = t
	}
	return all, nil
}
