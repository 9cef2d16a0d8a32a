// Package auth is etcd's users, roles and permissions as a pure core: what the entries of the system table mean
// ([State]), what a request changes in them ([Evaluate]), and who may do what ([State.May]). It has no clock,
// no I/O and no lock, so every replica of a datacenter comes to the same result. README.md has the entries.
//
// It serves the hops "gateway" (authorize) and "dc (apply)" of the way of a write. A [State] is immutable and
// may be used from any goroutine.
//
// The semantics are those of etcd's auth store (go.etcd.io/etcd/server/v3/auth), the error texts included.
package auth
