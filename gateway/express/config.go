package express

import (
	"time"

	"google.golang.org/grpc/codes"
)

// Handler begins to answer a call. It runs on the goroutine that reads the connection, so it must not block; it calls
// one of the methods of [Call] that answer, at once or later from any goroutine, exactly once.
type Handler func(*Call)

// Config is what lanes need. All fields but Open are required.
type Config struct {
	Handlers map[string]Handler // by full method name, such as /etcdserverpb.KV/Put
	// Open says whether handlers may be used now: while it is false, every request is gRPC's. Nil: always.
	Open func() bool
	// Ignored are request headers that change nothing, besides those of gRPC itself. A request with any other header is gRPC's.
	Ignored map[string]bool
	// Carried are request headers that come with the call, at most once each: [Call.Metadata].
	Carried map[string]bool

	MaxMessageBytes int    // of a request, as the server's MaxRecvMsgSize
	MaxStreams      uint32 // calls under way of one connection, as the server's MaxConcurrentStreams, which counts its own
	ConnWindow      uint32 // bytes, as the server's InitialConnWindowSize
	// PingMinTime is the server's keepalive.EnforcementPolicy.MinTime: how often a client may ping while calls are under way.
	PingMinTime time.Duration
}

const (
	// headerListBytes is gRPC's own bound of a decoded header list, as HPACK counts it.
	headerListBytes = 16 << 20
	// headerBlockBytes bounds an encoded one, which has to be whole before it is decoded.
	headerBlockBytes = 1 << 20
	// unsentBytes of answers may wait for a client that does not read; meanwhile its requests are not read either.
	unsentBytes = 1 << 20
	// keptBytes is the most that a buffer for answers keeps while a connection rests.
	keptBytes = 16 << 10
	// readBytes holds a whole frame, and most of what a busy client sends at a time.
	readBytes = 32 << 10
	// sweepInterval is how late a deadline may be noticed.
	sweepInterval = 100 * time.Millisecond
)

// Texts and codes of gRPC's server, for what its clients see of it.
const (
	codeTooLarge  = codes.ResourceExhausted
	codeMalformed = codes.Internal
)
