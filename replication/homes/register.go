package homes

import "time"

// Register is the acceptor of one keyspace as one replica has applied it.
type Register struct {
	Keyspace string // prefix
	State    State
	// Granted is when this process applied the grant of State.Lease, with a monotonic reading; when it started, if
	// it has found the grant in its store. The zero time when nothing was granted. See [AcceptorFree].
	Granted time.Time
}
