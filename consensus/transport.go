package consensus

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/raft/v3"
	"go.etcd.io/etcd/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"geogate/consensus/direct"
	"geogate/consensus/pb"
)

const (
	wireVersion      = 1
	envelopeBytes    = 1 << 20               // messages are packed into envelopes of about this size
	receivedBytes    = 64 << 20              // of messages from all peers that may wait for the loop
	receivedMessages = 4096                  // likewise
	firstRetry       = 50 * time.Millisecond // between two attempts to open a stream; doubles
	lastRetry        = time.Second           // up to this
	keepaliveTime    = 10 * time.Second      // of silence before a connection is probed
	keepaliveTimeout = 3 * time.Second       // for the probe's answer, and for TCP to confirm what was sent
	handshakeTimeout = 3 * time.Second       // for a peer's answer to a hello
	streamWindow     = 8 << 20               // HTTP/2 window of a stream
	connWindow       = 4 * streamWindow      // of a connection; unread entries must not keep heartbeats waiting
)

// transport carries Raft messages between the nodes of the group. Sending never blocks: a message that the connection
// doesn't take at once and that does not fit into its peer's queue is dropped, and Raft is told that the peer is
// unreachable.
type transport struct {
	cfg      *Config
	node     *Node
	listener net.Listener
	server   *grpc.Server
	door     *direct.Door
	creds    credentials.TransportCredentials
	known    atomic.Pointer[map[uint64]*peer] // by id, without this node; replaced by changePeers only
	stranger chan struct{}                    // capacity 1; receives when an unknown node has called
	reports  *reports
	urgent   *mailbox // received: what must not wait behind entries
	bulk     *mailbox // received: entries
	arrived  *arrivals
	roll     *roll
	copying  sync.Mutex // held while a copy is sent to a node that is being rebuilt

	mu       sync.Mutex
	dialing  context.Context // of the peers; nil while the transport does not run. guarded by mu
	running  sync.WaitGroup  // of peers and received streams
	guestsAt uint64          // index of the membership that told of the guests. guarded by mu
}

func newTransport(n *Node, listener net.Listener) *transport {
	t := &transport{
		cfg: &n.cfg, node: n, listener: listener, reports: newReports(), stranger: make(chan struct{}, 1),
		urgent:  newMailbox(receivedMessages, receivedBytes),
		bulk:    newMailbox(receivedMessages, receivedBytes),
		arrived: &arrivals{},
		roll:    newRoll(),
	}
	t.creds = transportCredentials(t.cfg.TLS)
	t.known.Store(&map[uint64]*peer{})
	t.door = direct.NewDoor(handshakeTimeout)
	t.server = grpc.NewServer(
		grpc.Creds(t.door.Credentials(t.cfg.TLS)),
		grpc.MaxRecvMsgSize(t.maxBytes()),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connWindow),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveTime / 2, PermitWithoutStream: true}),
	)
	pb.RegisterPeerServer(t.server, &receiver{t: t})
	t.follow(n.book.get())
	return t
}

func transportCredentials(c *tls.Config) credentials.TransportCredentials {
	if c == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(c)
}

// maxBytes is the largest message between two nodes, whatever it is packed in.
func (t *transport) maxBytes() int { return t.cfg.MaxMessageBytes + 2*envelopeBytes }

// run serves and dials until ctx ends; then everything is closed.
func (t *transport) run(ctx context.Context) error {
	dialing, cancel := context.WithCancel(ctx)
	defer cancel()
	t.mu.Lock()
	t.dialing = dialing
	for _, p := range t.peers() {
		t.running.Go(func() { p.run(dialing) })
	}
	t.mu.Unlock()
	t.running.Go(func() { t.acquaint(dialing) })
	stop := context.AfterFunc(ctx, t.server.Stop)
	err := t.server.Serve(t.listener)
	stop()
	cancel()
	t.mu.Lock()   // from here on no peer is started
	t.mu.Unlock() //nolint:staticcheck // see above
	t.close()
	t.running.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve peers on %s: %w", t.listener.Addr(), err)
}

// close releases the listener and the connections of a transport that does not run.
func (t *transport) close() {
	t.server.Stop()
	t.listener.Close() // the server may have closed it
	for _, p := range t.peers() {
		p.conn.Close() // only fails when closed before
	}
}

// send passes on messages to peers. It never blocks.
func (t *transport) send(m raftpb.Message) {
	p := t.peer(m.To)
	if p == nil {
		t.reports.unreachable(m.To)
		if m.Type == raftpb.MsgSnap {
			t.reports.snapshot(m.To, raft.SnapshotFailure)
		}
		return
	}
	if m.Type == raftpb.MsgSnap {
		p.transfer(m)
		return
	}
	if !t.cfg.Link(m.From, m.To) {
		return // lost, as on a cut cable
	}
	if !p.lane(&m).offer(m) {
		t.node.metrics.dropped.Inc()
		t.reports.unreachable(m.To)
		return
	}
	t.node.metrics.sent.Inc()
}

// connected says whether messages to a peer have a stream to go on.
func (t *transport) connected(id uint64) bool {
	p := t.peer(id)
	return p != nil && p.urgent.open.Load() && p.bulk.open.Load()
}

// isBulk says whether a message goes the way of entries. Appends without entries do too, because they must not
// overtake those with.
func isBulk(m *raftpb.Message) bool { return m.Type == raftpb.MsgApp }

func (t *transport) hello(to uint64) *pb.Hello {
	return &pb.Hello{Version: wireVersion, ClusterId: t.cfg.ClusterID, From: t.cfg.NodeID, To: to}
}

// check refuses a stream that is not of this group or not for this node.
func (t *transport) check(h *pb.Hello) error {
	switch {
	case h == nil:
		return status.Error(codes.InvalidArgument, "the first message must say hello")
	case h.ClusterId != t.cfg.ClusterID:
		return status.Errorf(codes.FailedPrecondition, "this is node %x of group %x, the caller is of group %x: wrong address or cluster name",
			t.cfg.NodeID, t.cfg.ClusterID, h.ClusterId)
	case h.To != t.cfg.NodeID:
		return status.Errorf(codes.FailedPrecondition, "this is node %x, the caller wants node %x: wrong address in Members", t.cfg.NodeID, h.To)
	case t.node.book.get().WasRemoved(h.From):
		return t.tellRemoved(h.From)
	case t.peer(h.From) == nil:
		signal(t.stranger)
		return status.Errorf(codes.FailedPrecondition, "node %x is not among this group's members", h.From)
	}
	return nil
}

// dialOptions are those of every connection to a peer.
func (t *transport) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(t.creds),
		grpc.WithNoProxy(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstRetry, Multiplier: 1.6, Jitter: 0.2, MaxDelay: lastRetry},
			MinConnectTimeout: keepaliveTimeout,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(t.maxBytes())),
	}
}

// reports tells the loop what happened to messages. It holds one fact of a kind for each peer.
type reports struct {
	ready chan struct{} // capacity 1

	mu        sync.Mutex
	lost      map[uint64]bool
	snapshots map[uint64]raft.SnapshotStatus
}

func newReports() *reports {
	return &reports{ready: make(chan struct{}, 1), lost: make(map[uint64]bool), snapshots: make(map[uint64]raft.SnapshotStatus)}
}

func (r *reports) unreachable(id uint64) {
	r.mu.Lock()
	r.lost[id] = true
	r.mu.Unlock()
	signal(r.ready)
}

func (r *reports) snapshot(id uint64, s raft.SnapshotStatus) {
	r.mu.Lock()
	r.snapshots[id] = s
	r.mu.Unlock()
	signal(r.ready)
}

// drain passes all reports to Raft.
func (r *reports) drain(rn *raft.RawNode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.lost {
		rn.ReportUnreachable(id)
	}
	for id, s := range r.snapshots {
		rn.ReportSnapshot(id, s)
	}
	clear(r.lost)
	clear(r.snapshots)
}
