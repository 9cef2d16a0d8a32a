// Package verify decides whether two datacenters hold the same data, bucket by bucket and key by key, while
// both take writes, and which copy of a key is the right one when they do not.
//
// It serves no hop of the way of a write; it checks what came of all of them. Values in, values out: no
// clock, no I/O. A [Book] belongs to one goroutine; the rest is safe for concurrent use.
package verify
