// Package replication carries committed frames between datacenters over NATS JetStream, and their
// confirmations back.
//
// It serves the hops from the applied entry to the answer, on the node that leads the DC:
//
//	chain -> outbox (pack, authenticate, publish) -> JetStream ---- WAN, pulled by the peer ---->
//	receiver (verify, chain check) -> Applier.Propose -> the peer's Raft group -> applied
//	-> cumulative ack -> progress -> Wait returns
//
// JetStream carries and does not keep: whatever happens to the stream, the receiver sees by the chain's
// hashes that something is missing, and says where it stands; the origin ships from there.
//
// An [Engine] lives on each node. [Engine.Run] answers handshakes, if only with the name of the leader;
// [Engine.Lead] does the rest while this node leads. All methods are safe for concurrent use. README.md has
// the messages, the subjects, and what is refused.
package replication
