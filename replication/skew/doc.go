// Package skew judges this node's clock by those of the peers: a node that runs ahead of their median must not
// stamp writes that compete by their stamp.
//
// It serves the second hop of the way of a write, ordering and stamping. It is a leaf and a pure core: values
// in, values out, no clock, no I/O. A [Fence] is a value; its owner keeps the newest.
package skew
