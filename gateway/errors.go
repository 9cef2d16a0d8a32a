package gateway

import "errors"

// Of the configuration.
var (
	// ErrConfig marks a configuration that [New] refuses.
	ErrConfig = errors.New("gateway configuration")
)

// Of a change of this datacenter's nodes.
var (
	errFixed         = errors.New("the nodes of this datacenter can't be changed at run time")
	errMemberURLs    = errors.New("bad peer URLs")
	errBadTransferee = errors.New("leadership can't go there")
)

// errAlarm marks a request about alarms that can't be understood. etcd ends its process.
var errAlarm = errors.New("bad alarm request")

// ErrAuthWithoutRoot is the state of authentication that was enabled and can't be administered.
var ErrAuthWithoutRoot = errors.New("authentication was enabled and is off: no root user with the root role is left, since another datacenter deleted it at the same time; " +
	"everybody may do everything until there is one again")

// Before anything is written.
var (
	// ErrMetadata marks metadata of a request that can't be understood.
	ErrMetadata = errors.New("bad request metadata")
	// ErrUnreachable means that the policy can't be met at present and nothing was written.
	ErrUnreachable = errors.New("policy can't be met")
	// ErrOverBudget means that the peers are too far behind for another write, and nothing was written.
	ErrOverBudget = errors.New("the RPO budget (max_lag) is used up")
	// ErrNoLeader means that no leader was found within the bound.
	ErrNoLeader = errors.New("no leader")
	// ErrForwardedAstray means that a request came from another gateway to a node that does not lead.
	ErrForwardedAstray = errors.New("forwarded to a node that does not lead")
	// ErrForeignToken means that a token was issued by another datacenter.
	ErrForeignToken = errors.New("token of another datacenter")
	// ErrFutureToken means that a token names a write that this datacenter has not made.
	ErrFutureToken = errors.New("token is ahead of this datacenter")
)

// After the write may have been committed.
var (
	// ErrNotMet means that the write is committed here and the policy was not met in time.
	ErrNotMet = errors.New("policy was not met in time")
	// ErrConnectionLost means that the answer of the leader's gateway was lost.
	ErrConnectionLost = errors.New("connection to the leader was lost")
)
