package consensus

import "errors"

// Open refuses to start; each needs an operator.
var (
	// ErrConfig marks a setting that can't work.
	ErrConfig = errors.New("consensus: invalid configuration")
	// ErrDamaged marks a write-ahead log or received snapshot whose bytes are not what was written.
	ErrDamaged = errors.New("consensus: log is damaged")
	// ErrForeign marks a write-ahead log of another group or node.
	ErrForeign = errors.New("consensus: log belongs to another group or node")
	// ErrBehind marks a write-ahead log that ends before, or a state machine that ends too long before, the other.
	ErrBehind = errors.New("consensus: log and state machine do not fit")
	// ErrNotListed means that nobody who was asked knows this node as a member.
	ErrNotListed = errors.New("consensus: the group was not told of this node")
	// ErrNeedsCopy joins one of the above where the log is whole and only the data under it is not: [Rebuild]
	// makes that good.
	ErrNeedsCopy = errors.New("the data has to be replaced")
)

// ErrNoCopy is why [Rebuild] could not get the data that a node has lost.
var ErrNoCopy = errors.New("consensus: node can't be rebuilt")

// A running node stops; Run returns these.
var (
	// ErrLogWrite marks a write or fsync of the log that failed. It is never retried: after a failed fsync
	// nobody knows what is on disk.
	ErrLogWrite = errors.New("consensus: writing the log failed")
	// ErrBroken marks an invariant of Raft that does not hold, such as a log that lost what it confirmed.
	ErrBroken = errors.New("consensus: raft cannot go on")
	// ErrRemoved means that this node is no member of the group any more. Its data is of no use to it: its id is
	// never used again. Open returns it too.
	ErrRemoved = errors.New("consensus: this node was removed from the group")
	// ErrRunning is the answer to a second Run.
	ErrRunning = errors.New("consensus: Run may be called once")
)

// ErrNothingLeft means that a node has no data from which its group could be founded anew.
var ErrNothingLeft = errors.New("consensus: nothing is left of the group here")

// A request is refused or given up.
var (
	// ErrStopped means that the node has stopped or is stopping.
	ErrStopped = errors.New("consensus: node is stopped")
	// ErrNoLeader joins the context's error when no leader was known at the end.
	ErrNoLeader = errors.New("consensus: no leader is known")
	// ErrNotLeader means that only the leader can do this.
	ErrNotLeader = errors.New("consensus: this node does not lead")
	// ErrTransfer means that leadership did not go where it was asked to go.
	ErrTransfer = errors.New("consensus: leadership was not transferred")
	// ErrOverloaded means that a bound on waiting requests is reached.
	ErrOverloaded = errors.New("consensus: too many waiting requests")
)

// A change of membership is refused.
var (
	// ErrMemberNotFound means that no member has this id.
	ErrMemberNotFound = errors.New("consensus: no such member")
	// ErrMemberExists means that the id is in use, or was.
	ErrMemberExists = errors.New("consensus: member id is in use")
	// ErrAddrExists means that another member has this Raft address.
	ErrAddrExists = errors.New("consensus: address belongs to another member")
	// ErrNotLearner means that the member to promote votes already.
	ErrNotLearner = errors.New("consensus: member is not a learner")
	// ErrLearnerBehind means that the member to promote does not have the log yet.
	ErrLearnerBehind = errors.New("consensus: learner is not in sync with the leader")
	// ErrTooManyLearners means that Config.MaxLearners is reached.
	ErrTooManyLearners = errors.New("consensus: too many learners")
	// ErrNotEnoughStarted means that too few voters would be left, or there, that have ever run.
	ErrNotEnoughStarted = errors.New("consensus: not enough started members")
	// ErrUnhealthy means that the change could cost the group its majority, because members are away.
	ErrUnhealthy = errors.New("consensus: group is unhealthy")
	// ErrUncertain means that nobody knows whether the change was made: look at the members.
	ErrUncertain = errors.New("consensus: fate of the change of membership is unknown")
)

// What Batcher.Dropped is given.
var (
	// ErrDropped means that Raft took no proposals at this moment; it may be proposed again.
	ErrDropped = errors.New("consensus: proposal was dropped")
	// ErrTooLarge means that the entry is larger than any message may be.
	ErrTooLarge = errors.New("consensus: entry is too large")
)

// errKilled ends a run without any of the steps of a clean stop.
var errKilled = errors.New("consensus: killed")
