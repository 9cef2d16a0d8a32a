package trunk

import "errors"

// What is known of a call that has no answer. Errors of the called end are gRPC statuses.
var (
	// ErrNotSent says that the call certainly was not begun at the other end.
	ErrNotSent = errors.New("the call was not sent")
	// ErrLost says that the call was sent and its answer was not received.
	ErrLost = errors.New("the answer was lost")
	// ErrUnsupported says that the other end is of a build without trunks; the call was not begun.
	ErrUnsupported = errors.New("the other node has no trunk")
)
