// Package lease is the core of etcd's leases: which are granted, and when they end.
//
// It serves the hop "dc (apply)" of the way of a write. A [Table] is what the log says; it has no clock and is
// the same on every replica. A [Schedule] is the leader's count of time over a table. Keys are not here: the
// store finds the keys of a lease by their newest versions.
//
// Values in, values out: there is no lock, no goroutine and no I/O, and the time is an argument. Callers
// serialize their calls.
package lease
