package consensus

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"google.golang.org/grpc"

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

// hangUp ends the direct connection for entries when that for heartbeats has ended: what is lost on the way to a peer
// is lost for both, and only one of them may tell so after seconds.
func (p *peer) hangUp(ended *lane) {
	if conn := p.bulk.conn.Load(); ended == p.urgent && conn != nil {
		_ = conn.Close() // it may have ended, too
	}
}
