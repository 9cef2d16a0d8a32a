// Package health judges a peer datacenter by its heartbeats and its progress: healthy, suspected, down or
// recovering.
//
// It serves the breaker in front of the policy wait, the last hop of the way of a write. It is a leaf and a
// pure core: values in, values out, no clock, no I/O. A [Machine] is a value; its owner keeps the newest.
package health
