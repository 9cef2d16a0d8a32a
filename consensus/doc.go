// Package consensus commits one datacenter's writes: a Raft group of 1, 3 or 5 nodes on etcd's raft library
// and etcd's write-ahead log. It serves the hop "consensus" of the way of a write: it pulls packed entries
// from a [Batcher] while this node leads, makes them durable on a majority, and hands them in order to a
// [StateMachine] on every node. It knows nothing of what an entry means.
//
// # Goroutines
//
// [Node.Run] owns all of them and returns when they are gone:
//
//	loop      owns the Raft state, the write-ahead log's writes and the in-memory log; calls the Batcher
//	apply     calls StateMachine.Apply, SetConf, Restore and LeaderChanged, one at a time, in log order
//	trim      asks StateMachine.Durable when the loop has applied more, deletes old log segments
//	pave      writes zeros ahead of a busy log, so that its fsyncs are short
//	pulse     keeps leadership through a short stall of the disk
//	lanes     two per peer, one for short urgent messages and one for entries; each sends what the loop could not at once
//	publisher tells the group this node's name and addresses, when they are new
//	stranger  asks the members for those that this node does not know, when one has called
//	transfers one per peer that is being sent a snapshot; calls StateMachine.Snapshot
//
// The loop never waits for apply, the network or a snapshot; it waits for the fsync of its own log only.
// All exported methods of [Node] may be called from any goroutine. No type of the raft library is exported.
//
// README.md argues the crash cases one by one and gives the formats on disk and on the wire.
package consensus
