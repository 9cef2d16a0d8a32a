package importer

import "errors"

// Before anything is written.
var (
	// ErrNotEmpty means that the destination has keys which no import of the same source has left there.
	ErrNotEmpty = errors.New("the destination is not empty")
	// ErrSelf means that source and destination are the same cluster.
	ErrSelf = errors.New("source and destination are the same cluster")
)

// While copying. What was copied stays; the same command goes on from there.
var (
	// ErrUnstable means that too many passes in a row were overtaken by compaction of the source, or found
	// differences that nobody but another writer at the destination can have made.
	ErrUnstable = errors.New("source and destination do not come to agree")

	// errAgain ends a pass or the following of changes: another pass is needed.
	errAgain = errors.New("another pass is needed")
)
