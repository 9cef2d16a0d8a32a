package node

import (
	"errors"
	"fmt"

	"geogate/dc"
	"geogate/dc/store"
	"geogate/replication"
	"geogate/replication/event"
)

var (
	_ replication.Chain     = chain{}
	_ replication.Applier   = (*dc.DC)(nil)
	_ replication.Confirmer = (*dc.DC)(nil)
	_ replication.Snapshots = (*dc.DC)(nil)
	_ replication.Verified  = (*dc.DC)(nil)
)

// chain shows a replica's chains in replication's own words.
type chain struct{ *dc.DC }

func (c chain) Frames(origin string, after int64, maxBytes int) ([]event.Sealed, error) {
	frames, err := c.DC.Frames(origin, after, maxBytes)
	if errors.Is(err, store.ErrTrimmed) {
		err = fmt.Errorf("%w: %w", replication.ErrTrimmed, err)
	}
	return frames, err
}

func (c chain) Backlog(origin string, after int64) (replication.Backlog, error) {
	b, err := c.DC.Backlog(origin, after)
	if errors.Is(err, store.ErrTrimmed) {
		err = fmt.Errorf("%w: %w", replication.ErrTrimmed, err)
	}
	return replication.Backlog{Txns: b.Txns, Bytes: b.Bytes, Oldest: b.Oldest}, err
}
