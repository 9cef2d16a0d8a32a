package replication

import (
	"context"
	"time"

	"geogate/replication/event"
)

// Chain is this DC's applied state and its retained frames. All methods are safe for concurrent use and
// answer from this node alone; on the node that leads they cover everything that was acknowledged to it.
type Chain interface {
	// Position is where this DC stands in the chain of an origin; for its own name, the head of its chain.
	// The zero revision and incarnation when it has nothing of that origin.
	Position(origin string) event.Position
	// Vector is the watermark of every origin. It is not changed by either side.
	Vector() event.Vector
	// Frames returns retained frames of origin with PrevRevision >= after, in chain order, about maxBytes of
	// them but at least one if there is any. [ErrTrimmed] when the frame right behind `after` is gone.
	Frames(origin string, after int64, maxBytes int) ([]event.Sealed, error)
	// Backlog measures the retained frames of origin behind a revision.
	Backlog(origin string, after int64) (Backlog, error)
	// Changed is closed after the next entry is applied; take it before reading.
	Changed() <-chan struct{}
}

// Backlog is what a reader of a chain has before it.
type Backlog struct {
	Txns   int64
	Bytes  int64
	Oldest time.Time // the commit of the first of them, on the origin's clock; zero when there is none
}

// Applier takes received frames.
type Applier interface {
	// Propose hands a frame to this DC's Raft group. It may block while too much is in flight, until ctx ends.
	// The channel is buffered and gets exactly one value: nil once the frame is committed by a majority of
	// this DC and applied here, or had been before, else why not. Frames of one origin are proposed in chain
	// order, without waiting for the one before.
	Propose(ctx context.Context, frame event.Sealed) (<-chan error, error)
}

// Confirmer takes note of what every DC is known to have.
type Confirmer interface {
	// Confirm is told the vector of each DC, the local one included. The matrix belongs to the callee.
	Confirm(ctx context.Context, matrix map[string]event.Vector) error
}
