package gateway

import (
	"context"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"geogate/dc"
	"geogate/gateway/trunk"
)

// forwarder holds the connections to the other nodes' gateways, one for each, opened when first needed.
type forwarder struct {
	self    string   // this member's id, the loop guard's value
	mark    []string // the loop guard, key and value
	options []grpc.DialOption
	passOn  func(context.Context, metadata.MD) // adds who the client is, where only its connection says so

	mu    sync.Mutex
	conns map[string]*neighbor // by address; nil after close. guarded by mu
}

// neighbor is another node's gateway.
type neighbor struct {
	*grpc.ClientConn
	line *trunk.Line // for writes, of which there are many at a time
}

// trunkBytes bounds a message of a trunk that holds more than one call: large enough for hundreds of small writes,
// small enough not to keep them waiting.
const trunkBytes = 256 << 10

func newForwarder(c *Config) *forwarder {
	creds := insecure.NewCredentials()
	if c.TLS != nil {
		creds = credentials.NewTLS(c.ForwardTLS)
	}
	f := &forwarder{self: strconv.FormatUint(c.MemberID, 16), conns: map[string]*neighbor{}}
	f.mark = []string{metaForwarded, f.self}
	f.options = []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
		// A node that restarts must be found again at once: grpc's default would wait up to two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithDisableServiceConfig(), // no retries but our own
		grpc.WithDisableRetry(),
		grpc.WithNoProxy(), // these are neighbours
	}
	if c.Dialer != nil {
		f.options = append(f.options, grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return c.Dialer(ctx, addr)
		}))
	}
	return f
}

func (f *forwarder) conn(addr string) (*neighbor, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns == nil {
		return nil, dc.ErrStopped
	}
	if n := f.conns[addr]; n != nil {
		return n, nil
	}
	c, err := grpc.NewClient("passthrough:///"+addr, f.options...)
	if err != nil {
		return nil, fmt.Errorf("connection to %s: %w", addr, err)
	}
	n := &neighbor{ClientConn: c, line: trunk.NewLine(c, trunkBytes)}
	f.conns[addr] = n
	return n, nil
}

func (f *forwarder) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.conns {
		_ = n.Close() // it only reports that it is closed already
		n.line.Close()
	}
	f.conns = nil
}

// outgoing is the context of a forwarded call: the client's metadata and the loop guard.
func (f *forwarder) outgoing(ctx context.Context) context.Context {
	return metadata.NewOutgoingContext(ctx, f.metadata(ctx))
}

func (f *forwarder) metadata(ctx context.Context) metadata.MD {
	in, _ := metadata.FromIncomingContext(ctx)
	md := forwardable(in)
	md[metaForwarded] = []string{f.self}
	if f.passOn != nil {
		f.passOn(ctx, md)
	}
	return md
}

// fate says what is known of a call to another gateway.
type fate int

const (
	fateAnswered fate = iota // it answered: its error is the answer
	fateNotDone              // it certainly did nothing: the call may be made again
	fateUnknown              // the answer was lost
)

// fateOf tells the other gateway's own errors from those that grpc made up on this side. A gateway marks its
// answers to forwarded calls with a trailer. reached is what grpc.Peer filled in: when it is empty, no
// connection was picked and nothing was sent.
func fateOf(err error, trailer metadata.MD, reached *peer.Peer) fate {
	switch {
	case err == nil:
		return fateAnswered
	case isNotLeader(err):
		return fateNotDone
	case len(trailer[trailerServedBy]) > 0:
		return fateAnswered
	}
	switch status.Code(err) {
	case codes.Unavailable:
		if reached.Addr == nil {
			return fateNotDone
		}
		return fateUnknown
	case codes.DeadlineExceeded, codes.Canceled, codes.Internal, codes.Unknown:
		return fateUnknown
	default:
		return fateAnswered // refused by the other grpc server, before any handler
	}
}

// ourTrailers are those of another gateway's trailers that are the client's.
func ourTrailers(md metadata.MD) metadata.MD {
	out := metadata.MD{}
	for key, v := range md {
		if strings.HasPrefix(key, "geogate-") && key != trailerServedBy {
			out[key] = v
		}
	}
	return out
}
