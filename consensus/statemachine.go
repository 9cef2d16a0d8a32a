package consensus

import "io"

// Entry is one committed entry of the log. Data is nil for the entry with which a leader opens its term and
// for a change of membership; both still move the applied index.
type Entry struct {
	Index uint64
	Term  uint64
	Data  []byte // immutable; shared with the log, may be kept
}

// Applied is a position in the log together with the membership that holds there.
type Applied struct {
	Index     uint64
	Term      uint64 // term of the entry at Index
	ConfState []byte // opaque; what SetConf was last given at or below Index
}

// Snapshot is an open copy of a state machine's durable state. Close is called exactly once.
type Snapshot struct {
	Applied
	Size int64 // bytes that the reader yields
	io.ReadCloser
}

// StateMachine is what the log drives. Apply, SetConf, Restore and LeaderChanged are called from one
// goroutine, never at the same time. Durable, Size and Snapshot are called from others, at any time, and must not
// wait for them.
type StateMachine interface {
	// Apply applies committed entries in index order, each index once per run of the process. The entries
	// are durable on a majority, this node's disk included. An error is fatal: the node stops.
	Apply(entries []Entry) error

	// Durable is the position up to which the state machine's own disk needs no log any more. On open it is
	// where replay begins; while running, the log before it may be deleted. It never goes back, except
	// over a restart after a crash, and then not below what it has returned before. The zero value means an
	// empty state machine.
	Durable() Applied

	// SetConf is told the membership (opaque bytes) and the index that set it. It takes effect together with
	// the next Apply or Restore, whose durable position must carry it: an entry that changes the membership
	// is always the first one of the Apply after its SetConf. It is also called once when a run starts.
	SetConf(index uint64, conf []byte)

	// Size is about how many bytes a Snapshot would yield now. It is asked often and costs nothing. The larger it
	// is, the more of the log is kept in its stead.
	Size() int64

	// Snapshot opens a consistent copy of the durable state, at a position not before the last Durable.
	Snapshot() (Snapshot, error)

	// Restore replaces everything by what r holds, which has been verified for length and checksum. It is
	// durable when it returns, and a crash within it leaves either the old position or one that is zero. An
	// error is fatal: the node stops, and tries again when it is started again.
	Restore(at Applied, r io.Reader) error

	// LeaderChanged tells, in order with Apply, that the leader known here or its term has changed; leader
	// is 0 while none is known. leading is true only once an entry of this node's own term is applied, so
	// everything committed in earlier terms is applied too. It must not block.
	LeaderChanged(term, leader uint64, leading bool)
}

// Batcher is the source of proposals. Its methods must not block: the loop that sends heartbeats calls them.
type Batcher interface {
	// Waiting receives when there may be something to take. A channel of capacity 1, filled without blocking
	// after each write has been queued, is enough; spurious wakeups are fine.
	Waiting() <-chan struct{}

	// Take packs waiting proposals into one entry of about limit bytes; empty when there are none. It is
	// called only while this node leads, after LeaderChanged said so. The node keeps the slice for good.
	Take(limit int) []byte

	// Dropped gives back the entry taken last: it was certainly not proposed and will never be applied.
	Dropped(data []byte, err error)
}
