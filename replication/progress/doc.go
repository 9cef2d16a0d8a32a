// Package progress knows how far each peer has confirmed this datacenter's chain, and releases the writes
// that wait for a policy.
//
// It serves the last hop of the way of a write, "progress tracker -> the waiting write returns". It is a
// leaf without clock, network or goroutine; a [Tracker] is safe for concurrent use. A wait is a value in a
// queue ordered by revision, one queue per policy, so that an advance releases exactly the prefix of each
// queue that it satisfies, in order.
package progress
