// Package oracle asks a real etcd and a geogate the same questions and compares the answers field by field.
// The questions are random, from a seed; what they touch is small, so that they meet each other often.
//
// etcd is the specification, its oddities included. Watches are compared by their events, not by how these are
// divided into messages; remaining times of leases by seconds. It serves no hop of the way of a write.
//
// Concurrency: one goroutine asks; watch streams are received by goroutines of their own, and compared at
// points at which both servers say that they have sent everything.
package oracle
