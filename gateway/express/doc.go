// Package express answers small unary calls of a connection beside gRPC's server, and leaves everything else to it.
//
// It serves the first hop of the way of a write. A call through gRPC's server costs a stream, a goroutine's turn, several
// contexts and queues; for a put that is more than all the rest that a datacenter does for it. Here a request is
// decoded where the connection is read, handed to its [Handler] there, and answered later by whoever has the outcome.
//
// [Lanes.Credentials] puts a lane under every connection of a gRPC server. The lane reads HTTP/2 frames (RFC 9113). Requests for
// a method with a handler, with nothing unusual in their headers, are its own; all other frames go to gRPC's
// server, which has a connection of its own without the ones in between: streams, keepalive, limits and graceful stops are gRPC's.
// README.md says frame by frame what becomes of each.
//
// Concurrency: the goroutine that reads the connection, which is gRPC's, runs the handlers; they must not block. A [Call] is
// answered once, from any goroutine. Answers of a moment leave in one write, from a goroutine that lives as long as that
// takes.
package express
