package registrar

import "errors"

// Refused before anything is done.
var (
	// ErrConfig marks a configuration that makes no sense.
	ErrConfig = errors.New("registrar: bad configuration")
	// ErrForbidden marks a command that the datacenter which sent it may not send.
	ErrForbidden = errors.New("command refused")
	// ErrKeyspace says that no single-writer keyspace has that prefix.
	ErrKeyspace = errors.New("no such single-writer keyspace")
	// ErrMoving says that a move of the keyspace is under way at this datacenter.
	ErrMoving = errors.New("a move is under way")
	// ErrTarget marks a datacenter that can't become the home in this way.
	ErrTarget = errors.New("not a possible new home")
	// ErrNoMove says that there is no such move to abort.
	ErrNoMove = errors.New("no such move is under way")
	// ErrDiverged says that two values were decided in one epoch; an operator has to look.
	ErrDiverged = errors.New("two homes were decided in one epoch")
)

// How a move ended.
var (
	// ErrLost says that another move went first.
	ErrLost = errors.New("another move went first")
	// ErrAborted says that a move was given up before it was proposed.
	ErrAborted = errors.New("the move was given up")
	// ErrOpen says that a move ended here without its outcome being known: it is proposed and may be decided yet.
	ErrOpen = errors.New("the outcome of the move is open")
)

// errAnnounced ends a decided move that not everyone has heard of.
var errAnnounced = errors.New("decided, and not every acceptor has answered")

// errStopped ends a move at a test point, as a crash would.
var errStopped = errors.New("stopped by a test")
