// Package split lets one port serve gRPC and HTTP/1.1 side by side, as etcd's clients expect it of a client
// port. It stands in front of the first hop of the way of a write, and changes no byte of it.
//
// A connection is looked at once, when it is opened: one that begins with HTTP/2's preface is gRPC's,
// everything else is HTTP/1.1. Under TLS a client that offers HTTP/1.1 gets that; gRPC's clients offer only h2.
//
// Concurrency: [Splitter.Run] owns a goroutine for each connection until its first bytes are there, which
// Config bounds in time. The listeners may be used from any goroutine.
package split
