package dc

import (
	"encoding/json"
	"fmt"
	"math"

	"geogate/replication/event"
)

// barrier decides when the stamp of a deleted key may be forgotten.
//
// A tombstone must outlive every put with an earlier stamp that may still arrive somewhere. Once every DC
// has applied it (Reached covers it), no DC makes such a put any more, because stamps are never behind what
// was applied; but a put made before may still travel. Each DC's own head at that time (Heads) bounds those,
// so when every DC has applied everything up to Heads, tombstones at or below Reached are stable.
type barrier struct {
	Reached event.Vector // per origin, what every DC had applied
	Heads   event.Vector // per origin, its own head when it reported that
}

// matrixEntry is the payload of a confirm item: what each DC is known to have applied.
type matrixEntry map[string]event.Vector

// lowest is, per origin, what every DC has applied. The DCs are those of the matrix, not of a node's
// configuration: replicas that know different topologies for a while still decide alike.
func (m matrixEntry) lowest() event.Vector {
	low := event.Vector{}
	for origin := range m {
		low[origin] = math.MaxInt64
	}
	for _, row := range m {
		for origin := range low {
			low[origin] = min(low[origin], row[origin])
		}
	}
	return low
}

func (m matrixEntry) heads() event.Vector {
	h := event.Vector{}
	for name, row := range m {
		h[name] = row[name]
	}
	return h
}

// advance takes the next matrix. It says whether the barrier moved, and when it did, returns the vector at
// or below which tombstones are stable; nil for the first barrier.
func (b *barrier) advance(low, heads event.Vector) (stable event.Vector, moved bool) {
	if b.Reached != nil && !low.Covers(b.Heads) {
		return nil, false
	}
	stable = b.Reached
	b.Reached, b.Heads = low, heads
	return stable, true
}

func decodeMatrix(raw []byte) (matrixEntry, error) {
	m := matrixEntry{}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("%w: confirmations: %w", ErrMalformed, err)
	}
	return m, nil
}

func encodeBarrier(b barrier) ([]byte, error) { return json.Marshal(b) }

func decodeBarrier(raw []byte) (barrier, error) {
	var b barrier
	if raw == nil {
		return b, nil
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		return b, fmt.Errorf("tombstone barrier: %w: the store is damaged", err)
	}
	return b, nil
}
