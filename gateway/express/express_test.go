package express

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	waitLimit = 20 * time.Second
	maxBytes  = 4 << 20
	window    = 64 << 10 // of a client or a server: the smallest that gRPC takes
)

// kit is a server with a lane, and a client. Calls of /test.Test/Lane go over the lane, those of /test.Test/Grpc and the stream
// /test.Test/Stream do not.
type kit struct {
	t      testing.TB
	addr   string
	lanes  *Lanes
	server *grpc.Server
	served chan error
	quick  atomic.Int64 // calls that came over the lane
	closed atomic.Bool  // the lanes
	handle func(*Call)  // nil: echo
}

func start(t testing.TB, edit func(*Config), handle func(*Call)) *kit {
	t.Helper()
	k := &kit{t: t, served: make(chan error, 1), handle: handle}
	if k.handle == nil {
		k.handle = echo
	}
	c := Config{
		Handlers: map[string]Handler{"/test.Test/Lane": func(call *Call) {
			k.quick.Add(1)
			k.handle(call)
		}},
		Open:            func() bool { return !k.closed.Load() },
		Ignored:         map[string]bool{"ignored": true},
		Carried:         map[string]bool{"carried": true},
		MaxMessageBytes: maxBytes, MaxStreams: 1 << 30, ConnWindow: 2 * window, PingMinTime: 5 * time.Second,
	}
	if edit != nil {
		edit(&c)
	}
	k.lanes = New(c)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k.addr = l.Addr().String()
	k.server = grpc.NewServer(
		grpc.Creds(k.lanes.Credentials(insecure.NewCredentials())), grpc.MaxRecvMsgSize(maxBytes), grpc.MaxSendMsgSize(1<<30),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(2*window),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: c.PingMinTime}),
	)
	k.server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Test", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Lane", Handler: unary}, {MethodName: "Grpc", Handler: unary}},
		Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true, ClientStreams: true, Handler: stream}},
	}, nil)
	go func() { k.served <- k.server.Serve(l) }()
	t.Cleanup(func() {
		k.lanes.Abort()
		k.server.Stop()
		if err := <-k.served; err != nil {
			t.Error(err)
		}
		k.lanes.mu.Lock()
		defer k.lanes.mu.Unlock()
		if len(k.lanes.conns) > 0 {
			t.Errorf("%d connections are left", len(k.lanes.conns))
		}
	})
	return k
}

// echo answers with the request, and says so in a trailer.
func echo(c *Call) {
	var m wrapperspb.BytesValue
	if err := proto.Unmarshal(c.Request(), &m); err != nil {
		c.Fail(status.Error(codes.Internal, err.Error()), nil)
		return
	}
	c.Reply(&m, append([]string{"by", "lane"}, c.Metadata()...))
}

func unary(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	m := new(wrapperspb.BytesValue)
	if err := decode(m); err != nil {
		return nil, err
	}
	_ = grpc.SetTrailer(ctx, metadata.Pairs("by", "grpc"))
	return m, nil
}

// stream answers each message with one of as many bytes as it says.
func stream(_ any, s grpc.ServerStream) error {
	for {
		var m wrapperspb.Int64Value
		if s.RecvMsg(&m) != nil {
			return nil
		}
		if err := s.SendMsg(wrapperspb.Bytes(make([]byte, m.Value))); err != nil {
			return err
		}
	}
}

func (k *kit) dial(options ...grpc.DialOption) *grpc.ClientConn {
	k.t.Helper()
	conn, err := grpc.NewClient(k.addr, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)))...)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// call makes a unary call and returns who answered, and with which metadata.
func call(ctx context.Context, conn *grpc.ClientConn, method string, body []byte) (by string, err error) {
	var trailer metadata.MD
	resp := new(wrapperspb.BytesValue)
	if err := conn.Invoke(ctx, "/test.Test/"+method, wrapperspb.Bytes(body), resp, grpc.Trailer(&trailer)); err != nil {
		return "", err
	}
	if !bytes.Equal(resp.Value, body) {
		return "", fmt.Errorf("sent %d bytes, got %d other ones back", len(body), len(resp.Value))
	}
	if len(trailer["by"]) == 1 {
		by = trailer["by"][0]
		for _, v := range trailer["carried"] {
			by += " " + v
		}
	}
	return by, nil
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	t.Cleanup(cancel)
	return ctx
}

func TestWhoAnswers(t *testing.T) {
	k := start(t, nil, nil)
	conn := k.dial()
	for _, c := range []struct {
		name, method string
		md           []string
		closed       bool
		want         string
	}{
		{name: "plain", method: "Lane", want: "lane"},
		{name: "ignored metadata", method: "Lane", md: []string{"ignored", "x"}, want: "lane"},
		{name: "carried metadata", method: "Lane", md: []string{"carried", "x"}, want: "lane x"},
		{name: "carried metadata twice", method: "Lane", md: []string{"carried", "x", "carried", "y"}, want: "grpc"},
		{name: "carried and other metadata", method: "Lane", md: []string{"carried", "x", "other", "x"}, want: "grpc"},
		{name: "other metadata", method: "Lane", md: []string{"other", "x"}, want: "grpc"},
		{name: "other method", method: "Grpc", want: "grpc"},
		{name: "closed", method: "Lane", closed: true, want: "grpc"},
		{name: "plain again", method: "Lane", want: "lane"},
	} {
		k.closed.Store(c.closed)
		by, err := call(metadata.AppendToOutgoingContext(within(t), c.md...), conn, c.method, []byte("hello"))
		if err != nil || by != c.want {
			t.Errorf("%s: by %q, %v; want %q", c.name, by, err, c.want)
		}
	}
}

// TestSizes has requests and responses of all sizes at once, through windows that are much smaller, beside a stream.
func TestSizes(t *testing.T) {
	k := start(t, nil, nil)
	conn := k.dial(grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window))
	ctx := within(t)
	var group sync.WaitGroup
	group.Go(func() { streamSizes(t, ctx, conn) })
	for worker := range 8 {
		group.Go(func() {
			for i, size := range []int{0, 1, 100, maxFrameBytes - 10, maxFrameBytes, window - 3, window, 3*window + 7, 1 << 20, 5} {
				method := "Lane"
				if (i+worker)%4 == 0 {
					method = "Grpc"
				}
				if _, err := call(ctx, conn, method, bytes.Repeat([]byte{byte(worker + 1)}, size)); err != nil {
					t.Errorf("%s with %d bytes: %v", method, size, err)
				}
			}
		})
	}
	group.Wait()
	if k.quick.Load() == 0 {
		t.Error("nothing went over the lane")
	}
}

func streamSizes(t *testing.T, ctx context.Context, conn *grpc.ClientConn) {
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Test/Stream")
	if err != nil {
		t.Error(err)
		return
	}
	for i := range 50 {
		size := int64(i * 9973)
		m := new(wrapperspb.BytesValue)
		if err := s.SendMsg(wrapperspb.Int64(size)); err != nil {
			t.Error(err)
			return
		}
		if err := s.RecvMsg(m); err != nil || int64(len(m.Value)) != size {
			t.Errorf("stream: %d bytes of %d, %v", len(m.Value), size, err)
			return
		}
	}
}

func TestErrors(t *testing.T) {
	want, err := status.New(codes.OutOfRange, "100 % außer Reichweite\n").WithDetails(wrapperspb.String("why"))
	if err != nil {
		t.Fatal(err)
	}
	k := start(t, nil, func(c *Call) { c.Fail(want.Err(), []string{"token", "1:2"}) })
	var trailer metadata.MD
	err = k.dial().Invoke(within(t), "/test.Test/Lane", wrapperspb.Bytes(nil), new(wrapperspb.BytesValue), grpc.Trailer(&trailer))
	if got := status.Convert(err); !proto.Equal(got.Proto(), want.Proto()) {
		t.Errorf("got %v, want %v", got.Proto(), want.Proto())
	}
	if len(trailer["token"]) != 1 || trailer["token"][0] != "1:2" {
		t.Errorf("trailer %v", trailer)
	}
}

// TestTooLarge is answered before the request is whole, as gRPC's server does.
func TestTooLarge(t *testing.T) {
	k := start(t, nil, nil)
	conn := k.dial()
	body := make([]byte, maxBytes+1)
	_, lane := call(within(t), conn, "Lane", body)
	_, grpc := call(within(t), conn, "Grpc", body)
	if lane == nil || status.Code(lane) != codes.ResourceExhausted || lane.Error() != grpc.Error() {
		t.Errorf("over the lane: %v, else: %v", lane, grpc)
	}
	if by, err := call(within(t), conn, "Lane", []byte("x")); err != nil || by != "lane" {
		t.Errorf("afterwards: by %q, %v", by, err)
	}
}

// TestClientGivesUp tells the handler, when the client cancels, its time is over, or its connection ends.
func TestClientGivesUp(t *testing.T) {
	begun, left := make(chan *Call, 1), make(chan struct{}, 1)
	k := start(t, nil, func(c *Call) {
		c.Wait(func() { left <- struct{}{} })
		begun <- c
	})
	for _, how := range []string{"cancel", "deadline", "close"} {
		conn := k.dial()
		ctx, cancel := context.WithCancel(within(t))
		if how == "deadline" {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		}
		failed := make(chan error, 1)
		go func() {
			_, err := call(ctx, conn, "Lane", nil)
			failed <- err
		}()
		c := <-begun
		switch how {
		case "cancel":
			cancel()
		case "close":
			_ = conn.Close()
		}
		<-left
		if err := <-failed; err == nil {
			t.Errorf("%s: the call succeeded", how)
		}
		c.Reply(wrapperspb.Bytes(nil), nil) // too late
		cancel()
	}
}

// TestDeadlineOfTheServer is for a client that does not end a call by itself.
func TestDeadlineOfTheServer(t *testing.T) {
	left := make(chan struct{})
	k := start(t, nil, func(c *Call) { c.Wait(func() { close(left) }) })
	r := k.raw()
	r.headers(1, "grpc-timeout", "20m")
	r.data(1, true, message(nil))
	<-left
	if code := r.reset(1); code != 8 {
		t.Errorf("reset with code %d, want 8, CANCEL", code)
	}
}

// TestGracefulStop answers the calls under way, and tells the client which they are.
func TestGracefulStop(t *testing.T) {
	begun := make(chan *Call, 2)
	k := start(t, nil, func(c *Call) { begun <- c })
	conn := k.dial()
	if by, err := call(within(t), conn, "Grpc", nil); err != nil || by != "grpc" {
		t.Fatal(by, err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := call(within(t), conn, "Lane", []byte("last"))
		answered <- err
	}()
	c := <-begun
	stopped := make(chan struct{})
	go func() {
		k.server.GracefulStop()
		close(stopped)
	}()
	lane := c.conn
	eventually(t, "the connection drains", func() bool {
		lane.mu.Lock()
		defer lane.mu.Unlock()
		return lane.closing
	})
	echo(c)
	if err := <-answered; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	select {
	case <-stopped:
	case <-within(t).Done():
		t.Fatal("the server did not stop")
	}
}

// TestPings: a client that pings as often as it may is not sent away for want of streams that gRPC's server can see.
func TestPings(t *testing.T) {
	begun := make(chan *Call, 1)
	k := start(t, func(c *Config) { c.PingMinTime = time.Millisecond }, func(c *Call) { begun <- c })
	r := k.raw()
	r.headers(1)
	r.data(1, true, message(nil))
	c := <-begun
	for range 8 {
		time.Sleep(2 * time.Millisecond) // a client's interval
		r.ping()
	}
	c.Reply(wrapperspb.Bytes(nil), nil)
	for range 9 { // three are forgiven here, and as many by gRPC's server
		r.ping()
	}
	if !r.goneAway() {
		t.Error("pings without a call are not counted any more")
	}
}

// TestPingsBetweenAnswers: clients ping to measure a connection as soon as they have received something, so one may cross the answer
// that it seems to lack. However often that happens, nobody is sent away for it.
func TestPingsBetweenAnswers(t *testing.T) {
	k := start(t, nil, nil)
	r := k.raw()
	for i := range 10 {
		stream := uint32(2*i + 1)
		r.headers(stream)
		r.data(stream, true, message(nil))
		r.answer(stream)
		for range 3 {
			r.ping()
		}
	}
	if r.goneAway() {
		t.Error("the client was sent away")
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(waitLimit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}
