package dc

import (
	"errors"

	"geogate/dc/lease"
)

// ErrNotLost refuses to begin a new group while another member of the old one is there.
var ErrNotLost = errors.New("the group of this datacenter is not lost")

// Before anything is proposed: the write did not happen and may be tried again elsewhere.
var (
	// ErrNotLeader means that another node of this DC orders writes, or none does at present.
	ErrNotLeader = errors.New("this node does not lead its datacenter")
	// ErrBusy means that the queue of writes is full.
	ErrBusy = errors.New("too many writes are waiting to be proposed")
	// ErrLowDisk means that the leader's disk is nearly full.
	ErrLowDisk = errors.New("too little space is left on the disk")
	// ErrRestored means that this DC's data comes from a backup that must be compared with the others' first.
	ErrRestored = errors.New("data was restored from a backup that may hold what was deleted since, so none of it is given away")
	// ErrTooLarge means that one write would not fit into a Raft entry.
	ErrTooLarge = errors.New("write is larger than a Raft entry may be")
	// ErrLeaseTTL answers a grant of a longer lease than there may be.
	ErrLeaseTTL = lease.ErrTTLTooLarge
	// ErrTooManyLeases means that the datacenter holds as many leases as it may.
	ErrTooManyLeases = errors.New("too many leases")
	// ErrStopped means that the DC was closed.
	ErrStopped = errors.New("datacenter replica has stopped")
)

// After it was proposed.
var (
	// ErrSuperseded means that the write was proposed and certainly not committed: the next leader's log does
	// not hold it.
	ErrSuperseded = errors.New("leadership moved before the write was committed; it was not applied")
	// ErrUnknownOutcome means that the caller stopped waiting: the write may still be committed.
	ErrUnknownOutcome = errors.New("stopped waiting for the commit; the write may still be applied")
)

// Of the evaluation: the request was ordered and refused, and changed nothing.
var (
	// ErrKeyNotFound answers ignore_value or ignore_lease on a key that does not exist.
	ErrKeyNotFound = errors.New("key not found")
	// ErrLeaseNotFound answers a put with a lease that does not exist.
	ErrLeaseNotFound = errors.New("requested lease not found")
	// ErrNoSpace answers a put while the database is larger than its quota, or the alarm of that is raised.
	ErrNoSpace = errors.New("database space exceeded")
	// ErrCorrupt answers every write while an alarm says that the data is corrupt.
	ErrCorrupt = errors.New("corrupt cluster")
	// ErrLeaseExists answers a grant under an id that is in use.
	ErrLeaseExists = lease.ErrExists
	// ErrRequestReused answers a request id that came with another request before.
	ErrRequestReused = errors.New("request id was used for a different request")
	// ErrRepair answers a repair that makes no sense; nothing is proposed.
	ErrRepair = errors.New("not a repair of this key")
	// ErrMalformed answers a log item that can't be read; it is written by a newer or a broken version.
	ErrMalformed = errors.New("malformed log item")
)
