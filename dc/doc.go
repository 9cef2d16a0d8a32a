// Package dc is one datacenter's replica on one node: it orders writes, stamps them, commits them through
// the consensus group, evaluates them, and keeps the chain of frames that peers receive.
//
// It serves three hops of the way of a write: "dc" (order, stamp), "dc (apply)" (revisions, store, watermark
// and frame in one batch) and, in a peer, the proposal and merge of a received frame.
//
// Concurrency: [DC]'s exported methods may be called from any goroutine. Everything that changes state runs
// in the apply goroutine of consensus, one entry at a time, and is deterministic: it depends on the entry
// and on what was applied before, never on a clock or on who leads. What readers need of it is published
// as one immutable value after each entry.
package dc
