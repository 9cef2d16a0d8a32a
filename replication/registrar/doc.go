// Package registrar keeps the register of homes while this node leads its datacenter: it is the shell around the pure
// core in replication/homes. It takes the commands of other datacenters' proposers, renews the home's lease, drives
// moves, and ends those that somebody left behind. It bars the own acceptor where that may have lost its past, and lets it
// vote again.
//
// It stands beside the way of a write: [Registrar.Standing] says whether this datacenter may take a write of a
// keyspace, or answer a linearizable read of it, at this moment. What it decides is durable only in the acceptors,
// which dc keeps in its Raft group; a registrar is lost with the leadership, and the next one goes on from the
// acceptors.
//
// All methods of [Registrar] are safe for concurrent use. One goroutine per keyspace looks after it, one per
// keyspace and acceptor renews the lease, and one drives each move; all end with [Registrar.Run].
package registrar
