package trunk

import (
	"context"
	"runtime"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"geogate/gateway/trunk/trunkpb"
)

// Handler answers one call. Its context has the call's metadata as incoming, ends when the caller no longer waits, and
// takes trailers by [grpc.SetTrailer]. It has no deadline: the caller tells when its own is over.
type Handler func(ctx context.Context, request []byte) (proto.Message, error)

// Server is the called end of trunks.
type Server struct {
	trunkpb.UnsafeTrunkServer

	handlers map[string]Handler     // by full method name
	quick    map[string]func(*Call) // likewise
	maxBytes int
	stopping <-chan struct{}
	running  sync.WaitGroup
}

// NewServer is a server of the given methods, by full name. A message holds replies of about maxBytes, and at least
// one. When stopping is closed, streams begin no more calls and end once those under way are answered.
func NewServer(handlers map[string]Handler, maxBytes int, stopping <-chan struct{}) *Server {
	return &Server{handlers: handlers, maxBytes: maxBytes, stopping: stopping}
}

// Quick adds handlers that answer later, and must not block: they run where a stream is read. Each method has a [Handler] too, for
// [Call.Pass]. It may not be called once the server serves.
func (s *Server) Quick(handlers map[string]func(*Call)) { s.quick = handlers }

// Wait returns when the goroutines of streams that have ended are gone.
func (s *Server) Wait() { s.running.Wait() }

// served is one stream.
type served struct {
	*Server
	ctx     context.Context
	replies *outbox[*trunkpb.Reply]
	crew    crew

	mu       sync.Mutex
	open     map[uint64]func() // guarded by mu: calls under way, and what tells each that nobody waits for it
	draining bool              // guarded by mu: no more calls are begun
	idle     chan struct{}     // closed when draining and nothing is under way
}

// Carry serves one stream.
func (s *Server) Carry(stream grpc.BidiStreamingServer[trunkpb.Calls, trunkpb.Replies]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel() // ends what is under way: nobody can be answered any more
	c := &served{Server: s, ctx: ctx, replies: newOutbox[*trunkpb.Reply](), open: map[uint64]func(){}, idle: make(chan struct{})}
	c.crew = crew{running: &s.running, serve: c.serve}
	defer c.crew.end()
	gone := make(chan error, 1)
	s.running.Go(func() { gone <- c.receive(stream) })
	stopping := s.stopping
	for {
		select {
		case <-c.replies.wake:
			runtime.Gosched() // answers of the same moment join this message
			if err := c.flush(stream); err != nil {
				return err
			}
		case <-stopping:
			stopping = nil
			c.drain()
		case <-c.idle:
			return c.flush(stream)
		case err := <-gone:
			return err
		}
	}
}

func (c *served) flush(stream grpc.BidiStreamingServer[trunkpb.Calls, trunkpb.Replies]) error {
	replies := c.replies.take()
	for len(replies) > 0 {
		n, size := 0, 0
		for ; n < len(replies); n++ {
			size += sizeOf(replies[n].Response, replies[n].Trailer) + len(replies[n].Status)
			if n > 0 && size > c.maxBytes {
				break
			}
		}
		if err := stream.Send(&trunkpb.Replies{Replies: replies[:n]}); err != nil {
			return err
		}
		replies = replies[n:]
	}
	return nil
}

func (c *served) receive(stream grpc.BidiStreamingServer[trunkpb.Calls, trunkpb.Replies]) error {
	for {
		msg, err := stream.Recv()
		if err != nil {
			return status.Convert(err).Err()
		}
		for _, call := range msg.Calls {
			c.take(call)
		}
		c.mu.Lock()
		for _, id := range msg.Canceled {
			if cancel := c.open[id]; cancel != nil {
				cancel()
			}
		}
		c.mu.Unlock()
	}
}

// take begins a call, with the handler that answers later if its method has one.
func (c *served) take(call *trunkpb.Call) {
	if quick := c.quick[call.Method]; quick != nil {
		q := &Call{on: c, msg: call}
		if c.begin(call.Id, q.cancel) {
			quick(q)
		}
		return
	}
	ctx, cancel := context.WithCancel(c.ctx)
	if !c.begin(call.Id, cancel) {
		cancel()
		return
	}
	c.crew.run(task{ctx, call})
}

// begin registers a call, unless the stream drains: then it is as if it had not been read.
func (c *served) begin(id uint64, cancel func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, repeated := c.open[id]; c.draining || repeated {
		return false
	}
	c.open[id] = cancel
	return true
}

// task is a call that was begun, with its context.
type task struct {
	ctx  context.Context //nolint:containedctx // it is handed from one goroutine to another
	call *trunkpb.Call
}

func (c *served) serve(begun task) {
	call := begun.call
	t := &trailers{method: call.Method}
	ctx := metadata.NewIncomingContext(grpc.NewContextWithServerTransportStream(begun.ctx, t), toMetadata(call.Metadata))
	reply := &trunkpb.Reply{Id: call.Id}
	response, err := c.handle(ctx, call)
	if err == nil {
		reply.Response, err = proto.Marshal(response)
	}
	if err != nil {
		reply.Status = encodeStatus(err)
	}
	reply.Trailer = fromMetadata(t.md)
	c.replies.put(reply)
	c.finish(call.Id)
}

func (c *served) handle(ctx context.Context, call *trunkpb.Call) (proto.Message, error) {
	h := c.handlers[call.Method]
	if h == nil {
		return nil, status.Errorf(codes.Unimplemented, "method %s does not come over a trunk", call.Method)
	}
	return h(ctx, call.Request)
}

// finish comes after the reply was put, so that a stream that has drained has them all.
func (c *served) finish(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[id]()
	delete(c.open, id)
	if c.draining && len(c.open) == 0 {
		close(c.idle)
	}
}

func (c *served) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if len(c.open) == 0 {
		close(c.idle)
	}
}

// encodeStatus is never empty, for an error.
func encodeStatus(err error) []byte {
	s := status.Convert(err)
	if s.Code() == codes.OK {
		s = status.New(codes.Internal, err.Error())
	}
	encoded, err := proto.Marshal(s.Proto())
	if err != nil {
		encoded, _ = proto.Marshal(status.New(s.Code(), "its text is not valid UTF-8").Proto()) // a constant can be encoded
	}
	return encoded
}
