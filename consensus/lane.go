package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"geogate/consensus/direct"
	"geogate/consensus/pb"
)

// lane is a queue of messages and what empties it: a stream, and a direct connection beside it where both sides can.
// The lanes of a peer have their own, so a follower that does not read entries for a while still gets its heartbeats.
type lane struct {
	p    *peer
	box  *mailbox
	open atomic.Bool // the handshake is done

	// writing is held while messages are taken from box, or go past it because it is empty, until they are written: so
	// they keep their order.
	writing sync.Mutex
	conn    atomic.Pointer[direct.Conn] // sent on under writing; nil: the stream carries the messages
}

const (
	// unopened bounds what waits for a stream that is not there: enough for an election, too little to be stale.
	unopened = 8
	// nowBytes bounds a message that is encoded by its sender, which has more to do; the lane's goroutine has not.
	nowBytes = 64 << 10
	// saidPause is between two reasons in the log for which there is no stream: some have a port that is always another one.
	saidPause = time.Minute
)

type messageStream = grpc.BidiStreamingClient[pb.Envelope, pb.Hello]

// offer sends a message, or queues it if it fits. It never waits.
func (l *lane) offer(m raftpb.Message) bool {
	if l.sendNow(&m) {
		return true
	}
	limit := l.box.maxMessages
	if !l.open.Load() {
		limit = min(limit, unopened)
	}
	return l.box.offer(m, limit)
}

// sendNow writes a message if nothing is ahead of it. To wake a goroutine for that would cost more than the write, and
// each write of a client waits for two such messages.
func (l *lane) sendNow(m *raftpb.Message) bool {
	if l.conn.Load() == nil || m.Size() > nowBytes || !l.writing.TryLock() {
		return false
	}
	defer l.writing.Unlock()
	conn := l.conn.Load()
	if conn == nil || conn.Behind() || !l.box.empty() {
		return false
	}
	if conn.Send(*m) != nil || conn.Behind() {
		l.box.signal() // the lane's goroutine gives up, or waits until the rest is written
	}
	return true
}

func (l *lane) down() bool   { return !l.open.Load() }
func (l *lane) direct() bool { return l.conn.Load() != nil }

// lanes counts those to members that something is true of.
func (t *transport) lanes(is func(*lane) bool) (n float64) {
	for _, p := range t.peers() {
		for _, l := range []*lane{p.urgent, p.bulk} {
			if is(l) {
				n++
			}
		}
	}
	return n
}

// run opens the stream again and again.
func (l *lane) run(ctx context.Context) {
	wait, said, saidAt := firstRetry, "", time.Time{}
	for ctx.Err() == nil {
		err := l.stream(ctx)
		if l.open.Swap(false) {
			wait, saidAt = firstRetry, time.Time{}
			l.p.hangUp(l)
		} else if errors.Is(err, errLate) {
			wait = firstRetry // the attempt has waited
		}
		l.box.clear()
		l.p.t.reports.unreachable(l.p.id)
		if ctx.Err() != nil {
			return
		}
		if status.Code(err) == removedCode {
			l.p.t.node.removal.tell(fmt.Sprintf("told by node %x", l.p.id))
		}
		if text := err.Error(); text != said && time.Since(saidAt) > saidPause && l == l.p.urgent {
			said, saidAt = text, time.Now() // once, and not by both lanes
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
	st, ticket, err := l.handshake(ctx, cancel)
	if err != nil {
		return err
	}
	// Nothing more is to come from the peer, so the end of a read is the end of the stream.
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel(nil)
	watch.Go(func() {
		_, err := st.Recv()
		cancel(err)
	})
	send := l.overStream(st)
	if conn := l.dial(ctx, ticket); conn != nil {
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends what waits on it
		defer stop()
		watch.Go(func() { cancel(conn.Wait()) })
		send = overConn(conn)
		l.conn.Store(conn)
		defer l.conn.Store(nil)
	}
	l.open.Store(true)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.box.ready:
		}
		if err := l.drain(send); err != nil {
			cancel(nil)
			watch.Wait() // a failed write may only say EOF; the readers have the reason
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// drain sends what is queued, about an envelope's bytes of it.
func (l *lane) drain(send func([]raftpb.Message) error) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	messages := l.box.take(envelopeBytes)
	defer l.box.done(messages)
	return send(messages)
}

// overStream sends messages in envelopes.
func (l *lane) overStream(st messageStream) func([]raftpb.Message) error {
	var env envelope
	return func(messages []raftpb.Message) error {
		if len(messages) == 0 {
			return nil
		}
		if err := env.fill(messages); err != nil {
			return err
		}
		return st.Send(&env.Envelope)
	}
}

// overConn sends messages, and waits until they are gone as well as those that were sent past the queue.
func overConn(conn *direct.Conn) func([]raftpb.Message) error {
	return func(messages []raftpb.Message) error {
		if err := conn.Send(messages...); err != nil {
			return err
		}
		return conn.Flush()
	}
}

var errLate = errors.New("no handshake within " + handshakeTimeout.String())

// handshake opens a stream, once there is a connection for it. The ticket for a direct connection is nil when the peer
// has none to give: one of the version before.
func (l *lane) handshake(ctx context.Context, cancel context.CancelCauseFunc) (st messageStream, ticket []byte, err error) {
	late := time.AfterFunc(handshakeTimeout, func() { cancel(errLate) })
	defer late.Stop()
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errLate) { // beside it: why the last attempt to connect has failed
			err = fmt.Errorf("%w: %w", errLate, err)
		}
	}()
	if st, err = l.p.client.Messages(ctx, grpc.WaitForReady(true)); err != nil {
		return nil, nil, err
	}
	hello := l.p.t.hello(l.p.id)
	hello.Direct, hello.Log = !l.p.t.cfg.streams, l.p.t.node.own()
	sendErr := st.Send(&pb.Envelope{Hello: hello})
	answer, err := st.Recv()
	if err != nil {
		return nil, nil, errors.Join(err, sendErr)
	}
	if answer.ClusterId != l.p.t.cfg.ClusterID || answer.From != l.p.id {
		return nil, nil, fmt.Errorf("at this address is node %x of group %x", answer.From, answer.ClusterId)
	}
	l.p.t.roll.hear(l.p.id, answer.Log)
	return st, answer.Ticket, sendErr
}

// dial opens the direct connection; nil when there is no ticket, or something on the way lets only gRPC pass.
func (l *lane) dial(ctx context.Context, ticket []byte) *direct.Conn {
	if len(ticket) == 0 {
		return nil
	}
	call := direct.Call{Addr: l.p.addr, TLS: l.p.t.cfg.TLS, Ticket: ticket, Timeout: handshakeTimeout}
	if l == l.p.urgent { // these are read whatever happens; entries may wait until those before are applied
		call.Unanswered = keepaliveTimeout
	}
	conn, err := direct.Dial(ctx, call)
	if err != nil && ctx.Err() == nil {
		l.p.log.Warn("no direct connection to peer; messages go through gRPC", "error", err)
	}
	return conn
}
