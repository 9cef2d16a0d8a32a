// Package homes is the pure core of the register "home and epoch of a single-writer keyspace": Paxos among the
// datacenters, one instance per epoch, one acceptor per datacenter, and the arithmetic of the home's lease.
//
// It stands beside the way of a write: it says which datacenter may order the writes of a keyspace, up to which
// revision those of an earlier home count, and what a datacenter may apply and acknowledge while a move is open.
// [State] is an acceptor, a deterministic state machine that dc keeps in its Raft group; [Move] is a proposer;
// [Tenancy] is a home's hold on its lease; [Readmission] says when an acceptor that lost its past votes again. README.md has the messages, the argument for safety, and what the
// caller must make durable before what.
//
// It is a leaf: values and messages in, messages and values out, no clock, no I/O, no goroutine. States, commands
// and values are never changed in place and may be shared; a Move, a Tenancy and a
// Readmission belong to one goroutine.
package homes
