package store

import (
	"errors"
	"fmt"
)

// Sentinels of opening.
var (
	// ErrInUse marks a file that another process has open.
	ErrInUse = errors.New("database is used by another process")
	// ErrDamaged marks a file whose contents can't be right.
	ErrDamaged = errors.New("database is damaged")
	// ErrFormat marks a file of another format version.
	ErrFormat = errors.New("database has another format version")
	// ErrBackup marks a file from which nothing can be restored.
	ErrBackup = errors.New("can't restore this file")
)

// Sentinels of running.
var (
	// ErrClosed is what every call returns after Close, and Begin after Kill.
	ErrClosed = errors.New("store is closed")
	// ErrBusy answers a second defragmentation while one is under way.
	ErrBusy = errors.New("database is being defragmented already")
	// ErrBroken wraps the failure after which the store takes no more writes.
	ErrBroken = errors.New("store is broken")
)

// Sentinels of reading.
var (
	// ErrCompacted marks a revision whose history is gone.
	ErrCompacted = errors.New("required revision has been compacted")
	// ErrFutureRev marks a revision that the store has not reached.
	ErrFutureRev = errors.New("required revision is a future revision")
	// ErrTrimmed marks a place in a chain whose next frame is no longer kept.
	ErrTrimmed = errors.New("chain is trimmed beyond the place asked for")
)

// ErrCompactedAt ends a watch whose history is gone. It is [ErrCompacted].
type ErrCompactedAt struct {
	Revision int64 // the compacted revision: watches may start here
}

func (e ErrCompactedAt) Error() string {
	return fmt.Sprintf("%v: history starts at revision %d", ErrCompacted, e.Revision)
}

// Is makes errors.Is(err, ErrCompacted) hold.
func (e ErrCompactedAt) Is(target error) bool { return target == ErrCompacted }
