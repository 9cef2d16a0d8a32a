// Package event holds what travels: frames, their chain, and the hybrid logical clock that stamps them.
//
// A frame is the effects of one committed Raft entry of local writes. It is written once, at its origin,
// and the same bytes are stored, hashed, shipped and applied everywhere. It serves the hops "dc (apply)",
// "shipper" and "receiver" of the way of a write.
//
// This is a leaf: it imports nothing of geogate. Values are immutable once built and safe to share between
// goroutines; [Clock] has its own lock.
package event
