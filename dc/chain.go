package dc

import (
	"encoding/json"
	"fmt"

	"geogate/consensus"
	"geogate/dc/store"
	"geogate/replication/event"
)

// Name is the datacenter's name.
func (d *DC) Name() string { return d.cfg.Name }

// Incarnation identifies this life of the DC's data; 0 until the first leader has chosen it.
func (d *DC) Incarnation() uint64 { return d.published.Load().incarnation }

// Position is where this DC stands in the chain of an origin.
func (d *DC) Position(origin string) event.Position {
	return d.published.Load().position(origin)
}

// Vector is the watermark of every origin. It must not be changed.
func (d *DC) Vector() event.Vector { return d.published.Load().vector() }

// Digest is a sum over the live data, and what that holds: DCs that hold the same have equal digests. Beside
// the vector it names lives of origins that have ended, and what a snapshot brought ahead of the vector.
func (d *DC) Digest() (uint64, event.Vector) {
	p := d.published.Load()
	return p.digest, p.holds()
}

// Revision is the DC's current etcd revision on this node.
func (d *DC) Revision() int64 { return d.published.Load().revision }

// Changed is closed after the next entry is applied; take it before reading the state.
func (d *DC) Changed() <-chan struct{} { return d.signal.wait() }

// Frames returns retained frames of origin behind a revision, in order, up to maxBytes but at least one if
// there is any; store.ErrTrimmed when the next one is no longer kept.
func (d *DC) Frames(origin string, after int64, maxBytes int) ([]event.Sealed, error) {
	at := d.Position(origin)
	frames, err := d.store.Frames(origin, after, maxBytes)
	if err == nil && len(frames) == 0 && after < at.Revision {
		return nil, fmt.Errorf("%w: nothing of %s is kept between revisions %d and %d", store.ErrTrimmed, origin, after, at.Revision)
	}
	return frames, err
}

// Backlog measures the retained frames of origin behind a revision.
func (d *DC) Backlog(origin string, after int64) (store.Backlog, error) {
	return d.store.Backlog(origin, after)
}

// Conflicts returns the newest recorded conflicts, and how many there were since the data was created.
func (d *DC) Conflicts(limit int) ([]Conflict, uint64, error) {
	raws, total := d.store.Conflicts(limit)
	out := make([]Conflict, 0, len(raws))
	for _, raw := range raws {
		var c Conflict
		if err := json.Unmarshal(raw, &c); err != nil {
			return nil, 0, err
		}
		out = append(out, c)
	}
	return out, total, nil
}

// Status is what consensus says of this node.
func (d *DC) Status() consensus.Status { return d.node.Status() }

// Store is the data itself, for reading.
func (d *DC) Store() *store.Store { return d.store }
