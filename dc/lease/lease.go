package lease

import (
	"errors"
	"fmt"
)

// MaxTTL is the longest lease, in seconds; etcd has the same.
const MaxTTL = 9_000_000_000

// Of a request, before or while it is applied.
var (
	// ErrTTLTooLarge answers a TTL above [MaxTTL].
	ErrTTLTooLarge = errors.New("lease TTL is too large")
	// ErrExists answers a grant under an id that is in use.
	ErrExists = errors.New("lease already exists")
	// ErrMalformed is of bytes that are no lease or no command.
	ErrMalformed = errors.New("malformed lease")
)

// Lease is one lease as the log has it.
type Lease struct {
	ID  int64 // not 0
	TTL int64 // seconds, as granted
	// Remaining is what was left of TTL at the last checkpoint, in seconds; 0 means all of it. A leader that
	// takes over counts from there.
	Remaining int64
	// Granted is the place of the grant in the log. It tells a lease from a later one with the same id, so that
	// what was decided about the one is not done to the other.
	Granted uint64
}

// Left is with how many seconds a new leader starts.
func (l *Lease) Left() int64 {
	if l.Remaining > 0 {
		return l.Remaining
	}
	return l.TTL
}

// ClampTTL is the TTL that is granted for the one that was asked for.
func ClampTTL(asked, least int64) (int64, error) {
	if asked > MaxTTL {
		return 0, fmt.Errorf("%w: %d s, the limit is %d s", ErrTTLTooLarge, asked, int64(MaxTTL))
	}
	return max(asked, least), nil
}
