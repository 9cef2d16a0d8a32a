package trunk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"geogate/gateway/trunk/trunkpb"
)

const testBytes = 64 << 10

// ends is a line and a server of the method "echo" and what a test adds.
type ends struct {
	line     *Line
	grpc     *grpc.Server
	server   *Server
	stopping chan struct{}
	messages atomic.Int64 // that the server has received
}

func newEnds(t *testing.T, handlers map[string]Handler) *ends {
	t.Helper()
	e := &ends{stopping: make(chan struct{})}
	all := map[string]Handler{"echo": func(_ context.Context, request []byte) (proto.Message, error) {
		v := new(wrapperspb.BytesValue)
		return v, proto.Unmarshal(request, v)
	}}
	for name, h := range handlers {
		all[name] = h
	}
	e.server = NewServer(all, testBytes, e.stopping)
	e.grpc = grpc.NewServer(grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
		return h(srv, counting{ss, &e.messages})
	}))
	trunkpb.RegisterTrunkServer(e.grpc, e.server)
	e.line = dialLine(t, e.grpc)
	t.Cleanup(func() {
		e.grpc.Stop()
		e.server.Wait()
	})
	return e
}

func dialLine(t *testing.T, s *grpc.Server) *Line {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	go func() { _ = s.Serve(l) }() // ends with the server
	conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	line := NewLine(conn, testBytes)
	t.Cleanup(func() {
		line.Close()
		_ = conn.Close()
	})
	return line
}

type counting struct {
	grpc.ServerStream
	n *atomic.Int64
}

func (c counting) RecvMsg(m any) error {
	err := c.ServerStream.RecvMsg(m)
	if err == nil {
		c.n.Add(1)
	}
	return err
}

func (e *ends) call(ctx context.Context, method, text string) (string, metadata.MD, error) {
	out := new(wrapperspb.BytesValue)
	md, err := e.line.Call(ctx, 0, method, metadata.MD{"who": {"me"}}, wrapperspb.Bytes([]byte(text)), out)
	return string(out.Value), md, err
}

func (e *ends) echo(t *testing.T, text string) {
	t.Helper()
	got, _, err := e.call(t.Context(), "echo", text)
	if err != nil || got != text {
		t.Errorf("echo of %.20q: %.20q, %v", text, got, err)
	}
}

func TestAnswersGoToTheirCalls(t *testing.T) {
	e := newEnds(t, nil)
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for j := range 50 {
				e.echo(t, fmt.Sprintf("%d/%d", i, j))
			}
		})
	}
	all.Wait()
	if n := e.messages.Load(); n >= 64*50 {
		t.Errorf("%d calls took %d messages", 64*50, n)
	} else {
		t.Logf("%d calls took %d messages", 64*50, n)
	}
}

func TestLargeCallsAndReplies(t *testing.T) {
	e := newEnds(t, nil)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() { e.echo(t, strings.Repeat("x", i*testBytes/4)) })
	}
	all.Wait()
}

func TestErrorsAndTrailersComeBack(t *testing.T) {
	e := newEnds(t, map[string]Handler{"refuse": func(ctx context.Context, _ []byte) (proto.Message, error) {
		in, _ := metadata.FromIncomingContext(ctx)
		for _, md := range []metadata.MD{metadata.Pairs("a", in["who"][0]), metadata.Pairs("b", "2", "b", "3")} {
			if err := grpc.SetTrailer(ctx, md); err != nil {
				return nil, err
			}
		}
		s, err := status.New(codes.FailedPrecondition, "no").WithDetails(&errdetails.ErrorInfo{Reason: "WHY"})
		if err != nil {
			return nil, err
		}
		return nil, s.Err()
	}})
	_, md, err := e.call(t.Context(), "refuse", "")
	s := status.Convert(err)
	if s.Code() != codes.FailedPrecondition || s.Message() != "no" || len(s.Details()) != 1 {
		t.Errorf("status %v", s)
	}
	if a, b := md["a"], md["b"]; len(md) != 2 || fmt.Sprint(a, b) != "[me] [2 3]" {
		t.Errorf("trailers a %v, b %v of %d", a, b, len(md))
	}
	if _, _, err := e.call(t.Context(), "unknown", ""); status.Code(err) != codes.Unimplemented {
		t.Errorf("unknown method: %v", err)
	}
}

// blocking is a handler that tells when it begins and waits for its context or for a permission.
type blocking struct {
	begun  chan struct{}
	permit chan struct{}
	ended  chan error
}

func newBlocking() *blocking {
	return &blocking{make(chan struct{}, 1000), make(chan struct{}), make(chan error, 1000)}
}

func (b *blocking) handle(ctx context.Context, _ []byte) (proto.Message, error) {
	b.begun <- struct{}{}
	select {
	case <-b.permit:
		b.ended <- nil
		return wrapperspb.Bytes([]byte("done")), nil
	case <-ctx.Done():
		b.ended <- ctx.Err()
		return nil, ctx.Err()
	}
}

func TestCancelReachesTheOtherEnd(t *testing.T) {
	b := newBlocking()
	e := newEnds(t, map[string]Handler{"block": b.handle})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-b.begun
		cancel()
	}()
	if _, _, err := e.call(ctx, "block", ""); !errors.Is(err, ErrLost) || !errors.Is(err, context.Canceled) {
		t.Errorf("call: %v", err)
	}
	if err := <-b.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("handler: %v", err)
	}
	e.echo(t, "the stream goes on")
}

// A value that can't be encoded is left out, and spoils nothing for the other calls.
func TestBinaryMetadata(t *testing.T) {
	seen := make(chan metadata.MD, 1)
	e := newEnds(t, map[string]Handler{"see": func(ctx context.Context, _ []byte) (proto.Message, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		seen <- md
		return &wrapperspb.BytesValue{}, grpc.SetTrailer(ctx, metadata.MD{"x-bin": {"\xff"}, "y": {"1"}})
	}})
	sent := metadata.MD{"a": {"1", "2"}, "b-bin": {"\xff\xfe"}, "c": {"\x80"}, "d": {""}}
	trailer, err := e.line.Call(t.Context(), 0, "see", sent, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue))
	if err != nil || len(trailer) != 1 || len(trailer["y"]) != 1 {
		t.Errorf("trailers of %d keys, %v", len(trailer), err)
	}
	if md := <-seen; len(md) != 2 || fmt.Sprint(md["a"], md["d"]) != "[1 2] []" {
		t.Errorf("%d keys, a %v, d %v", len(md), md["a"], md["d"])
	}
}

// A deadline does not travel, its end does.
func TestLateCallsEndAtTheOtherEnd(t *testing.T) {
	b := newBlocking()
	e := newEnds(t, map[string]Handler{"block": b.handle})
	e.echo(t, "the stream is open")
	for name, call := range map[string]func() error{
		"timeout": func() error {
			_, err := e.line.Call(t.Context(), 200*time.Millisecond, "block", nil, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue))
			return err
		},
		"deadline": func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, _, err := e.call(ctx, "block", "")
			return err
		},
	} {
		if err := call(); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrLost) {
			t.Errorf("%s: %v", name, err)
		}
		if err := <-b.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s, handler: %v", name, err)
		}
	}
}

// A server that does not answer in time is not waited for, even when it does not know that it is late.
func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	e := newEnds(t, map[string]Handler{"stuck": func(context.Context, []byte) (proto.Message, error) {
		<-release
		return &wrapperspb.BytesValue{}, nil
	}})
	defer close(release)
	_, err := e.line.Call(t.Context(), time.Millisecond, "stuck", nil, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue))
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrLost) && !errors.Is(err, ErrNotSent) {
		t.Errorf("got %v", err)
	}
	e.echo(t, "the stream goes on")
}

// Goroutines are kept for calls to come, and all of them end with the stream.
func TestWorkersStayAndEnd(t *testing.T) {
	b := newBlocking()
	e := newEnds(t, map[string]Handler{"block": b.handle})
	var all sync.WaitGroup
	const calls = restingWorkers + 50
	for range calls {
		all.Go(func() {
			if _, _, err := e.call(t.Context(), "block", ""); err != nil {
				t.Error(err)
			}
		})
	}
	for range calls - 1 {
		<-b.begun
	}
	close(b.permit)
	all.Wait()
	e.grpc.Stop()
	e.server.Wait() // returns when no worker is left
}

func TestWhatIsKnownOfLostCalls(t *testing.T) {
	b := newBlocking()
	e := newEnds(t, map[string]Handler{"block": b.handle})
	done := make(chan error, 1)
	go func() {
		_, _, err := e.call(t.Context(), "block", "")
		done <- err
	}()
	<-b.begun
	e.grpc.Stop()
	if err := <-done; !errors.Is(err, ErrLost) {
		t.Errorf("sent and unanswered: %v", err)
	}
	if _, _, err := e.call(t.Context(), "echo", ""); !errors.Is(err, ErrNotSent) {
		t.Errorf("no server: %v", err)
	}
	e.line.Close()
	if _, _, err := e.call(t.Context(), "echo", ""); !errors.Is(err, ErrNotSent) {
		t.Errorf("closed: %v", err)
	}
}

// A server that stops answers what it has begun, and nothing that it has not begun is taken for lost.
func TestDrain(t *testing.T) {
	b := newBlocking()
	e := newEnds(t, map[string]Handler{"block": b.handle})
	const calls = 10
	done := make(chan error, calls)
	for range calls {
		go func() {
			_, _, err := e.call(t.Context(), "block", "")
			done <- err
		}()
	}
	for range calls {
		<-b.begun
	}
	close(e.stopping)
	late, cancel := context.WithCancel(t.Context())
	defer cancel()
	lateDone := make(chan error, 1)
	go func() {
		_, _, err := e.call(late, "echo", "")
		lateDone <- err
	}()
	close(b.permit)
	for range calls {
		if err := <-done; err != nil {
			t.Errorf("begun before the stop: %v", err)
		}
	}
	if err := <-lateDone; err != nil && !errors.Is(err, ErrNotSent) {
		t.Errorf("after the stop: %v", err)
	}
}

func TestOtherEndWithoutTrunks(t *testing.T) {
	e := &ends{line: dialLine(t, grpc.NewServer())}
	for range 2 {
		if _, _, err := e.call(t.Context(), "echo", ""); !errors.Is(err, ErrUnsupported) {
			t.Errorf("got %v", err)
		}
	}
}

func TestNewStreamAfterABreak(t *testing.T) {
	e := newEnds(t, map[string]Handler{})
	e.echo(t, "first")
	e.line.mu.Lock()
	s := e.line.current
	e.line.mu.Unlock()
	s.end(errors.New("planted"))
	e.echo(t, "second")
}

// echoLine is a line over loopback to one that answers what it is sent.
func echoLine(b testing.TB) *Line {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := NewServer(map[string]Handler{"echo": func(_ context.Context, request []byte) (proto.Message, error) {
		v := new(wrapperspb.BytesValue)
		return v, proto.Unmarshal(request, v)
	}}, testBytes, nil)
	g := grpc.NewServer()
	trunkpb.RegisterTrunkServer(g, server)
	go func() { _ = g.Serve(l) }() // ends with the server
	b.Cleanup(g.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	line := NewLine(conn, 256<<10)
	b.Cleanup(line.Close)
	return line
}

func BenchmarkCall(b *testing.B) {
	line := echoLine(b)
	req := wrapperspb.Bytes(make([]byte, 256))
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := line.Call(b.Context(), 0, "echo", nil, req, new(wrapperspb.BytesValue)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
