package trunk

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"geogate/gateway/trunk/trunkpb"
)

// Line is the calling end of a trunk. It opens a stream when a call needs one.
type Line struct {
	client   trunkpb.TrunkClient
	maxBytes int
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex
	current *session // guarded by mu; nil before the first call
	closed  bool     // guarded by mu
}

// NewLine is a line over a connection. A message holds requests of about maxBytes, and at least one.
func NewLine(conn grpc.ClientConnInterface, maxBytes int) *Line {
	ctx, cancel := context.WithCancel(context.Background())
	return &Line{client: trunkpb.NewTrunkClient(conn), maxBytes: maxBytes, ctx: ctx, cancel: cancel}
}

// Call makes a unary call and fills in response. The error is the other end's gRPC status, or wraps [ErrNotSent],
// [ErrLost] or [ErrUnsupported]. When ctx ends, or timeout is over, the other end is told and its answer is not waited
// for. A timeout of 0 is none.
func (l *Line) Call(ctx context.Context, timeout time.Duration, method string, md metadata.MD, request, response proto.Message) (trailer metadata.MD, err error) {
	body, err := proto.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("%w: encode: %w", ErrNotSent, err)
	}
	msg := &trunkpb.Call{Method: method, Request: body, Metadata: fromMetadata(md)}
	s, err := l.session()
	if err != nil {
		return nil, err
	}
	reply, err := s.call(ctx, timeout, msg)
	if err != nil {
		return nil, err
	}
	trailer = toMetadata(reply.Trailer)
	if len(reply.Status) > 0 {
		return trailer, statusError(reply.Status)
	}
	if err := proto.Unmarshal(reply.Response, response); err != nil {
		return trailer, fmt.Errorf("%w: decode: %w", ErrLost, err)
	}
	return trailer, nil
}

// session is the open stream, or a new one.
func (l *Line) session() (*session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("%w: the line is closed", ErrNotSent)
	}
	if s := l.current; s != nil && !s.over() {
		return s, nil
	}
	s := newSession(l.maxBytes)
	l.current = s
	l.running.Go(func() { s.run(l.ctx, l.client) })
	return s, nil
}

// Close ends the line and what waits on it.
func (l *Line) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.running.Wait()
}

func statusError(encoded []byte) error {
	p := status.New(0, "").Proto()
	if err := proto.Unmarshal(encoded, p); err != nil {
		return fmt.Errorf("%w: decode status: %w", ErrLost, err)
	}
	return status.ErrorProto(p)
}
