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
	// Backlog measures the retained frames of origin behind a revision; [ErrTrimmed] when not all are kept.
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
	// this DC and applied here, or had been before, else why not. With [event.ErrHeld] the frame must wait for
	// something else that is applied here, and is proposed again after Changed. Frames of one origin are proposed in chain
	// order, without waiting for the one before.
	Propose(ctx context.Context, frame event.Sealed) (<-chan error, error)
}

// Confirmer takes note of what every DC is known to have.
type Confirmer interface {
	// Confirm is told the vector of each DC, the local one included, and by origin the incarnation that its
	// revisions there are of: when one has ended by the time of the commit, the matrix must change nothing.
	// Both maps belong to the callee.
	Confirm(ctx context.Context, matrix map[string]event.Vector, lives map[string]uint64) error
	// Heard is told the same of those DCs that are known, whenever it has changed. Neither side changes the maps.
	Heard(matrix map[string]event.Vector, lives map[string]uint64)
}

// Snapshots gives and takes the whole state of a DC, key by key, for when frames no longer lead from one to
// the other.
type Snapshots interface {
	// Marks is where this DC stands in each life of each origin, its own revision, and the highest stamp that
	// it has applied, all of one moment. The marks are not changed by either side.
	Marks() (marks []event.Mark, revision int64, high event.Stamp)
	// SnapshotMarks is Marks for the beginning of a snapshot: how far what Export gives from then on goes at least, as
	// long as no home moves. A later snapshot for a receiver that has all of this one may name since, which is opaque.
	SnapshotMarks() (marks []event.Mark, since int64, high event.Stamp, err error)
	// Export encodes the newest state of the keys behind `after` (all when empty), tombstones included, about
	// maxBytes of it: opaque to replication. Live keys that a snapshot gave in that state which began when `since` was
	// given are left out; 0 leaves out none. Behind `last` there is more unless done.
	Export(ctx context.Context, after []byte, since int64, maxBytes int) (chunk, last []byte, done bool, err error)
	// Merge hands a chunk to this DC's Raft group, as [Applier.Propose] does a frame. Merging it again, or
	// without the others, does no harm. It fails at once when the chunk can't be read.
	Merge(ctx context.Context, chunk []byte) (<-chan error, error)
	// Adopt moves the marks of this DC to cover those of another one whose chunks have all been merged, taken
	// before the first of them was exported. It returns when that is committed and applied.
	Adopt(ctx context.Context, from string, marks []event.Mark, high event.Stamp) error
	// Awaits says why the whole state of a peer, with nothing left out, has to be merged before its frames are
	// taken, although they would lead on from here; "" when it need not be. It is settled by Adopt.
	Awaits(peer string) string
}
