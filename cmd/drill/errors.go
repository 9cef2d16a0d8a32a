package drill

import "errors"

// Of reading and preparing a drill.
var (
	// ErrScenario marks a scenario that can't be carried out as it is written.
	ErrScenario = errors.New("invalid scenario")
	// ErrNotFound means that there is no such scenario or report.
	ErrNotFound = errors.New("not found")
	// ErrNeedsDev means that a step needs a dev cluster.
	ErrNeedsDev = errors.New("needs a dev cluster")
	// ErrRefused means that the cluster is in no state for a drill.
	ErrRefused = errors.New("the drill was refused")
)

// Of running one.
var (
	// ErrFailed means that the drill ran and did not pass; the report says why.
	ErrFailed = errors.New("the drill failed")
	// errAborted ends the steps of a drill.
	errAborted = errors.New("aborted")
)
