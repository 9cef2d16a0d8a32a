// Package trunk carries unary gRPC calls between two nodes of a datacenter over one stream, many in one message.
//
// It serves the hop from a gateway that doesn't lead to the one that does. A call of its own costs gRPC's work for
// a stream at both ends; what waits while a message is written travels in the next one, so that work is shared by
// the calls of a busy moment, and a call that comes alone leaves at once.
//
// [Line] is the calling end and [Server] the called one. Both are safe for concurrent use. A Line has two goroutines
// while its stream is open, a Server one for each stream and one for each call, of which it keeps some for the calls to
// come; [Line.Close] and [Server.Wait] return when they are gone.
package trunk
