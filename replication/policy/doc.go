// Package policy holds the arithmetic of write policies: how many datacenters ALL, QUORUM, ANY and ASYNC
// need, when a set of confirmations meets one, and the receipt that says so.
//
// It serves the last hop of the way of a write, "progress tracker -> the waiting write returns". It is a
// leaf and a pure core: values in, values out, no clock, no I/O, safe for concurrent use.
package policy
