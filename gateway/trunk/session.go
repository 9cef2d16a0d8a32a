package trunk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"geogate/gateway/trunk/trunkpb"
)

// session is one stream of a line, from the call that opened it to its end.
type session struct {
	maxBytes int
	calls    *outbox[*waiting]
	canceled *outbox[uint64]

	mu     sync.Mutex
	next   uint64              // guarded by mu
	open   map[uint64]*waiting // guarded by mu: calls without an answer
	ended  bool                // guarded by mu
	reason error               // guarded by mu: of the end, when a call comes later
}

// waiting is a call without an answer.
type waiting struct {
	msg  *trunkpb.Call
	done chan answer // capacity 1
	told Receiver    // takes the place of done, for who does not wait
	sent bool        // guarded by session.mu
}

// answer hands an answer over. It never blocks.
func (w *waiting) answer(a answer) {
	if w.told != nil {
		w.told.Answered(a.reply, a.err)
		return
	}
	w.done <- a
}

type answer struct {
	reply *trunkpb.Reply
	err   error
}

func newSession(maxBytes int) *session {
	return &session{maxBytes: maxBytes, calls: newOutbox[*waiting](), canceled: newOutbox[uint64](), open: map[uint64]*waiting{}}
}

func (s *session) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// begin queues a call.
func (s *session) begin(w *waiting) error {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return s.reason
	}
	s.next++
	w.msg.Id = s.next
	s.open[w.msg.Id] = w
	s.mu.Unlock()
	s.calls.put(w)
	return nil
}

func (s *session) call(ctx context.Context, timeout time.Duration, msg *trunkpb.Call) (*trunkpb.Reply, error) {
	w := &waiting{msg: msg, done: make(chan answer, 1)}
	if err := s.begin(w); err != nil {
		return nil, err
	}
	var late <-chan time.Time
	if timeout > 0 { // a timer costs a fraction of a context with a deadline
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case a := <-w.done:
		return a.reply, a.err
	case <-ctx.Done():
		return s.abandon(w, context.Cause(ctx))
	case <-late:
		return s.abandon(w, context.DeadlineExceeded)
	}
}

// abandon gives up a call, unless its answer has just come.
func (s *session) abandon(w *waiting, cause error) (*trunkpb.Reply, error) {
	if err := s.giveUp(w, cause); err != nil {
		return nil, err
	}
	a := <-w.done
	return a.reply, a.err
}

// giveUp takes out a call and says what is known of it; nil when it has its answer.
func (s *session) giveUp(w *waiting, cause error) error {
	s.mu.Lock()
	_, unanswered := s.open[w.msg.Id]
	delete(s.open, w.msg.Id)
	sent := w.sent
	s.mu.Unlock()
	switch {
	case !unanswered:
		return nil
	case !sent:
		return fmt.Errorf("%w: %w", ErrNotSent, cause)
	}
	s.canceled.put(w.msg.Id)
	return fmt.Errorf("%w: %w", ErrLost, cause)
}

// run opens the stream and works until it ends.
func (s *session) run(ctx context.Context, client trunkpb.TrunkClient) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Carry(ctx)
	if err != nil {
		s.end(err)
		return
	}
	received := make(chan struct{})
	go func() {
		defer close(received)
		err := s.receive(stream)
		s.end(err)
		cancel()
	}()
	s.send(ctx, stream)
	cancel()
	<-received
}

// send writes what waits until the stream breaks, which the receiver reports.
func (s *session) send(ctx context.Context, stream grpc.BidiStreamingClient[trunkpb.Calls, trunkpb.Replies]) {
	for {
		select {
		case <-s.calls.wake:
		case <-s.canceled.wake:
		case <-ctx.Done():
			return
		}
		runtime.Gosched() // who is about to call joins this message
		calls, canceled := s.calls.take(), s.canceled.take()
		for len(calls)+len(canceled) > 0 {
			msg := &trunkpb.Calls{Canceled: canceled}
			calls, canceled = s.fill(msg, calls), nil
			if stream.Send(msg) != nil {
				return
			}
		}
	}
}

// fill moves calls into a message until it is full, and returns the rest.
func (s *session) fill(msg *trunkpb.Calls, calls []*waiting) []*waiting {
	msg.Calls = make([]*trunkpb.Call, 0, len(calls))
	size := 0
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, w := range calls {
		if s.open[w.msg.Id] != w {
			continue // given up, or the stream has ended
		}
		cost := sizeOf(w.msg.Request, w.msg.Metadata)
		if size > 0 && size+cost > s.maxBytes {
			return calls[i:]
		}
		w.sent = true
		size += cost
		msg.Calls = append(msg.Calls, w.msg)
	}
	return nil
}

func (s *session) receive(stream grpc.BidiStreamingClient[trunkpb.Calls, trunkpb.Replies]) error {
	for {
		msg, err := stream.Recv()
		if err != nil {
			return err
		}
		for i, w := range s.close(msg.Replies) {
			if w != nil { // else it was given up
				w.answer(answer{reply: msg.Replies[i]})
			}
		}
	}
}

// close takes out the calls that have an answer; they are in the order of their replies.
func (s *session) close(replies []*trunkpb.Reply) []*waiting {
	answered := make([]*waiting, len(replies))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range replies {
		answered[i] = s.open[r.Id]
		delete(s.open, r.Id)
	}
	return answered
}

// end answers all that wait: a stream that ends well has answered what it began.
func (s *session) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	s.reason = fmt.Errorf("%w: %w", ErrNotSent, cause)
	if status.Code(cause) == codes.Unimplemented {
		s.reason = fmt.Errorf("%w: %w", ErrUnsupported, cause)
	}
	clean := errors.Is(cause, io.EOF) || errors.Is(s.reason, ErrUnsupported)
	for id, w := range s.open {
		delete(s.open, id)
		if w.sent && !clean {
			w.answer(answer{err: fmt.Errorf("%w: %w", ErrLost, cause)})
		} else {
			w.answer(answer{err: s.reason})
		}
	}
}
