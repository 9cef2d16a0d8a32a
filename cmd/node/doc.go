// Package node wires one geogate process: a replica of its datacenter, the replication engine, the gateway
// and the admin port, each built from its part of a topology.
//
// It is the one place where concrete types meet the interfaces that their consumers declare (adapters.go).
// It serves no hop of the way of a write itself.
//
// A [Node] is opened, run once, and then gone. Run and Kill may be called from different goroutines.
package node
