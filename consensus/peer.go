package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"geogate/consensus/pb"
)

// peer is the sending side towards one other node: one connection, two lanes of messages, and now and then a
// snapshot.
type peer struct {
	t      *transport
	id     uint64
	addr   string
	log    *slog.Logger
	conn   *grpc.ClientConn
	client pb.PeerClient
	urgent *lane // heartbeats, votes, answers
	bulk   *lane // entries

	wanted chan raftpb.Message // capacity 1: a MsgSnap to act on
	hold   atomic.Uint64       // index of the snapshot being sent, 0 when none is

	guest  bool               // a member by the word of others; the log here does not say so yet. Guarded by transport.mu
	cancel context.CancelFunc // ends run; nil before. Guarded by transport.mu
	left   chan struct{}      // closed when the node is no member any more; shared by all peers that were it
}

func newPeer(t *transport, m *Member) (*peer, error) {
	// The address is resolved anew for each connection, so a node may move.
	conn, err := grpc.NewClient("passthrough:///"+m.Addr, t.dialOptions()...)
	if err != nil {
		return nil, fmt.Errorf("%w: address %q of member %x: %w", ErrConfig, m.Addr, m.ID, err)
	}
	p := &peer{
		t: t, id: m.ID, addr: m.Addr, left: make(chan struct{}), conn: conn, client: pb.NewPeerClient(conn), wanted: make(chan raftpb.Message, 1),
		log: t.cfg.Logger.With("peer", m.ID, "addr", m.Addr),
	}
	p.urgent = &lane{p: p, box: newMailbox(t.cfg.QueueMessages, t.cfg.QueueBytes)}
	p.bulk = &lane{p: p, box: newMailbox(t.cfg.QueueMessages, t.cfg.QueueBytes)}
	return p, nil
}

func (p *peer) lane(m *raftpb.Message) *lane {
	if isBulk(m) {
		return p.bulk
	}
	return p.urgent
}

// run sends until ctx ends or the peer is dropped.
func (p *peer) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.t.mu.Lock()
	dropped := p.cancel != nil // before it began
	p.cancel = cancel
	p.t.mu.Unlock()
	if dropped {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.urgent.run(ctx) })
	wg.Go(func() { p.bulk.run(ctx) })
	wg.Go(func() { p.transfers(ctx) })
	wg.Wait()
}

// lane is a queue of messages and the stream that empties it. The lanes of a peer are streams of their own, so
// a follower that does not read entries for a while still gets its heartbeats.
type lane struct {
	p    *peer
	box  *mailbox
	open atomic.Bool // the handshake is done
}

// unopened bounds what waits for a stream that is not there: enough for an election, too little to be stale.
const unopened = 8

// offer queues a message if it fits.
func (l *lane) offer(m raftpb.Message) bool {
	limit := l.box.maxMessages
	if !l.open.Load() {
		limit = min(limit, unopened)
	}
	return l.box.offer(m, limit)
}

// run opens the stream again and again.
func (l *lane) run(ctx context.Context) {
	wait, said := firstRetry, ""
	for ctx.Err() == nil {
		err := l.stream(ctx)
		if l.open.Swap(false) {
			wait = firstRetry
		}
		l.box.clear()
		l.p.t.reports.unreachable(l.p.id)
		if ctx.Err() != nil {
			return
		}
		if status.Code(err) == removedCode {
			l.p.t.node.removal.tell(fmt.Sprintf("told by node %x", l.p.id))
		}
		if text := err.Error(); text != said && l == l.p.urgent {
			said = text // once, and not by both lanes
			l.p.log.Warn("stream to peer ended", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// stream shakes hands and then sends what is queued until something fails.
func (l *lane) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	st, err := l.p.client.Messages(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	if err := l.handshake(st, cancel); err != nil {
		return err
	}
	l.open.Store(true)
	// Nothing more is to come from the peer, so the end of this read is the end of the stream.
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel(nil)
	watch.Go(func() {
		_, err := st.Recv()
		cancel(err)
	})
	var env envelope
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.box.ready:
		}
		messages := l.box.take(envelopeBytes)
		if len(messages) == 0 {
			continue
		}
		err := env.fill(messages)
		l.box.done(messages)
		if err != nil {
			return err
		}
		if err := st.Send(&env.Envelope); err != nil {
			cancel(nil)
			watch.Wait() // Send only says EOF; the reader has the reason
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

func (l *lane) handshake(st grpc.BidiStreamingClient[pb.Envelope, pb.Hello], cancel context.CancelCauseFunc) error {
	late := time.AfterFunc(handshakeTimeout, func() { cancel(errors.New("peer does not answer the handshake")) })
	defer late.Stop()
	sendErr := st.Send(&pb.Envelope{Hello: l.p.t.hello(l.p.id)})
	answer, err := st.Recv()
	if err != nil {
		return errors.Join(err, sendErr)
	}
	if answer.ClusterId != l.p.t.cfg.ClusterID || answer.From != l.p.id {
		return fmt.Errorf("at this address is node %x of group %x", answer.From, answer.ClusterId)
	}
	return sendErr
}
