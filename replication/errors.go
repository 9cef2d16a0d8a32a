package replication

import "errors"

// Opening.
var (
	// ErrConfig marks a configuration that makes no sense.
	ErrConfig = errors.New("replication: bad configuration")
	// ErrListen marks an address that the embedded NATS server can't listen on.
	ErrListen = errors.New("replication: cannot listen")
	// ErrServer marks an embedded NATS server that failed.
	ErrServer = errors.New("replication: embedded NATS server failed")
)

// Before a write is stamped.
var (
	// ErrClockAhead says that this node's clock is so far ahead that it must not stamp multi-writer writes.
	ErrClockAhead = errors.New("this node's clock is ahead")
)

// Waiting for a policy.
var (
	// ErrNotLeading is returned where only the node that leads its DC knows the answer.
	ErrNotLeading = errors.New("this node does not lead its datacenter")
	// ErrUnreachable says that a policy can't be met by the peers believed to be up.
	ErrUnreachable = errors.New("policy cannot be met by the datacenters that are up")
	// ErrNotMet says that the wait ended before the policy was met. The write is committed locally and will
	// still arrive.
	ErrNotMet = errors.New("policy not met in time")
)

// Calls to other datacenters.
var (
	// ErrNotDelivered says that a call was not begun there: it may be sent again.
	ErrNotDelivered = errors.New("the request was not delivered")
	// ErrUnknownOutcome says that a call was sent, and that it may have been carried out, or may yet be.
	ErrUnknownOutcome = errors.New("the request may have been carried out or not")
)

// Reading the chain.
var (
	// ErrTrimmed must be returned, possibly wrapped, by [Chain.Frames] when the frame right behind the asked
	// revision is no longer kept.
	ErrTrimmed = errors.New("frames are no longer retained")
)

// Verification.
var (
	// ErrRepair says that a key was not repaired, and why.
	ErrRepair = errors.New("key not repaired")

	errOldPeer = errors.New("the peer has not said yet that it can be compared with; an older version never does")
)

// Why a pull ended, or did not begin.
var (
	errGap        = errors.New("the stream does not continue the chain")
	errHeartbeat  = errors.New("no heartbeat on the pull")
	errStalled    = errors.New("the origin has more, but nothing arrives")
	errEnded      = errors.New("the origin ended the pull")
	errDifference = errors.New("difference received")
	errRedirected = errors.New("another node leads the origin")
	errNoAnswer   = errors.New("no answer from the origin")
	errNeedsData  = errors.New("snapshot needed")
	errMerging    = errors.New("a snapshot of another datacenter is being merged")
	errNewLife    = errors.New("the sender's data has begun a new life")
	errFetch      = errors.New("answers do not follow each other")
	errNotKept    = errors.New("frames are not retained there")
	errApplySlow  = errors.New("a received frame was not applied in time")
	errDisconnect = errors.New("connection to the origin lost")
)

// What is wrong with the outbox.
var (
	errLocal       = errors.New("not connected to this datacenter's NATS")
	errStreamLost  = errors.New("the outbox stream is gone or takes nothing")
	errRebuild     = errors.New("the outbox stream is being made anew")
	errOutOfOrder  = errors.New("the outbox stream assigned a sequence out of order")
	errDiffStopped = errors.New("difference stopped")
)
