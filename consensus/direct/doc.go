// Package direct carries Raft messages over connections of their own beside gRPC, on the same port and with the same
// TLS. It serves the hop "consensus" of the way of a write, twice: an entry on its way to a follower and the answer.
//
// On a gRPC stream each message wakes a goroutine that queues it and one that writes it, on both sides. Here whoever has
// a message encodes it and gives it to the kernel, and never waits for that: what the kernel doesn't take stays with the
// connection until [Conn.Flush].
//
// gRPC keeps what is rare: a stream says who speaks to whom, is refused with a reason, and tells when the other side is
// gone. Its server issues a [Ticket] on it, the caller dials with that, and connection and stream end together.
//
// A [Conn] is written to by one goroutine at a time. A [Door] may be used by any.
package direct
