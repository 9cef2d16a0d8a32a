package trunk

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Carries says whether a call came over a trunk.
func Carries(ctx context.Context) bool {
	_, ok := grpc.ServerTransportStreamFromContext(ctx).(*trailers)
	return ok
}

// trailers stands in for gRPC's stream of a call, which has none of its own; headers go with them. It is used by the call's
// own goroutine.
type trailers struct {
	method string
	md     metadata.MD
}

// Method is the full name of the called method.
func (t *trailers) Method() string { return t.method }

// SetHeader adds to the trailers.
func (t *trailers) SetHeader(md metadata.MD) error { return t.SetTrailer(md) }

// SendHeader adds to the trailers.
func (t *trailers) SendHeader(md metadata.MD) error { return t.SetTrailer(md) }

// SetTrailer adds to the trailers.
func (t *trailers) SetTrailer(md metadata.MD) error {
	if t.md == nil {
		t.md = md
		return nil
	}
	t.md = metadata.Join(t.md, md)
	return nil
}
