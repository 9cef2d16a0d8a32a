package homes

import "errors"

// Sentinels of reading bytes.
var (
	// ErrMalformed marks bytes that are no state, command or reply of a version that this build reads.
	ErrMalformed = errors.New("not a readable record of the register of homes")
	// ErrInvalid marks a command or value that no proposer of this build would send.
	ErrInvalid = errors.New("invalid proposal")
)

// Sentinels of starting a move.
var (
	// ErrConfig marks a set of voters that can't decide.
	ErrConfig = errors.New("invalid set of voting datacenters")
	// ErrNotHome marks a switchover that was started elsewhere than at the home.
	ErrNotHome = errors.New("this datacenter is not the home")
	// ErrTooManyMoves marks a value whose past is full: a datacenter has not applied the writes of old epochs.
	ErrTooManyMoves = errors.New("too many moves that a datacenter has not caught up with")
	// ErrTooLate marks an abort after the move was proposed: it may have been decided already.
	ErrTooLate = errors.New("the move is proposed and can't be taken back")
	// ErrLease marks a duration or drift that the lease arithmetic doesn't cover.
	ErrLease = errors.New("invalid lease")
)
