package replication

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/proto"

	"geogate/replication/wire"
)

// link is a connection to one node of an origin. It is never reconnected: a new one is dialed, so that
// nothing of the old one, on either side, reaches into the new pull.
type link struct {
	r      *receiver
	nc     *nats.Conn
	socket dialer

	lost   context.Context // ends when the connection has
	cancel context.CancelCauseFunc

	verifies atomic.Bool // the other side answers questions of verification
	brief    atomic.Bool // it takes brief acks
	macs     atomic.Bool // and acks with a MAC instead of a signature

	wanted chan struct{} // wakes the relay

	asker        uint64              // names this link in calls
	calls        chan struct{}       // one for each call under way
	window       *semaphore.Weighted // bytes of their requests
	session      atomic.Uint64       // of the other side's leader; 0 while it is not known
	callMu       sync.Mutex          // keeps the parts of a call together
	callSequence uint64              // guarded by callMu

	leads   bool // owned by the receiver: acks and pings are running
	running sync.WaitGroup
}

// dial connects to the preferred endpoint, or the next one in turn.
func (r *receiver) dial(ctx context.Context) (*link, error) {
	e := r.endpoint()
	r.mu.Lock()
	r.status.endpoint, r.status.node = e.URL, e.Node
	r.mu.Unlock()
	return r.dialTo(ctx, e)
}

func (r *receiver) dialTo(ctx context.Context, e Endpoint) (*link, error) {
	k := &link{r: r, wanted: make(chan struct{}, 1), asker: newAsker(), calls: make(chan struct{}, r.cfg.MaxCalls), window: semaphore.NewWeighted(int64(r.cfg.CallWindowBytes))}
	k.lost, k.cancel = context.WithCancelCause(ctx)
	k.socket.connect = func(network, address string) (net.Conn, error) {
		d := net.Dialer{Control: endAfter(r.cfg.SendTimeout)}
		return dialAgain(k.lost, r.cfg.DialTimeout, func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, network, address) })
	}
	// The client knows no context while it connects. And while it waits for room to write, which it does for up to
	// RequestTimeout, whoever wants anything of it waits too, even those who read.
	context.AfterFunc(k.lost, k.socket.hangUp)
	nc, err := r.connectTo(k, e)
	if errors.Is(err, nats.ErrNkeysNotSupported) {
		nc, err = r.connectTo(k, e, nats.Nkey("", nil)) // a server that asks for no authentication
	}
	if err != nil {
		k.cancel(err)
		return nil, fmt.Errorf("connect to %s at %s: %w", r.peer.Name, e.URL, err)
	}
	k.nc = nc
	return k, nil
}

func (r *receiver) endpoint() Endpoint {
	all := r.endpoints()
	if prefer := r.prefer; prefer != "" {
		r.prefer = "" // once: if it does not answer, the others know better
		for _, e := range all {
			if e.Node == prefer {
				return e
			}
		}
	}
	e := all[r.next%len(all)]
	r.next++
	return e
}

// maxLearned bounds the nodes of a DC that are told to its peers, and that those take over.
const maxLearned = 16

// endpoints are the ways to the origin: those of the configuration, which may know of a detour, and then the nodes
// that joined the origin after it was written, as the origin tells them.
func (r *receiver) endpoints() []Endpoint {
	r.mu.Lock()
	told := r.status.nodes
	r.mu.Unlock()
	all := slices.Clip(r.peer.Endpoints)
	for _, n := range told[:min(len(told), maxLearned)] {
		listed := slices.ContainsFunc(r.peer.Endpoints, func(x Endpoint) bool { return x.Node == n.Node })
		if !listed && n.Node != "" && n.Url != "" {
			all = append(all, Endpoint{Node: n.Node, URL: n.Url})
		}
	}
	return all
}

func (r *receiver) connectTo(k *link, e Endpoint, more ...nats.Option) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name("geogate " + r.cfg.Local + "/" + r.cfg.Node),
		nats.SetCustomDialer(&k.socket), nats.NoReconnect(), nats.IgnoreDiscoveredServers(), nats.Timeout(r.cfg.DialTimeout), nats.FlusherTimeout(r.cfg.RequestTimeout),
		// Missed heartbeats of the pull find a dead connection sooner, and a PONG may have to queue behind data.
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(2),
		nats.ClosedHandler(func(*nats.Conn) { k.cancel(errDisconnect) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { k.failed(err) }),
	}
	if r.peer.Credentials != "" {
		opts = append(opts, nats.UserCredentials(r.peer.Credentials))
	} else {
		opts = append(opts, nats.Nkey(r.signer.Public(), r.signer.SignNonce))
	}
	if r.cfg.DialTLS != nil {
		opts = append(opts, nats.Secure(r.cfg.DialTLS))
	}
	return nats.Connect(e.URL, append(opts, more...)...)
}

// failed is called with what goes wrong beside any request. The client goes on when a write took too long; but
// what it has then is a connection that lost bytes, and that blocks whoever uses it.
func (k *link) failed(err error) {
	if k.lost.Err() != nil {
		return // of a connection that was given up
	}
	k.r.cfg.Logger.Warn("connection to an origin", "origin", k.r.peer.Name, "error", err)
	var op *net.OpError
	if errors.As(err, &op) {
		k.cancel(fmt.Errorf("%w: %w", errDisconnect, err))
		k.socket.hangUp()
	}
}

func (k *link) up() bool { return k.lost.Err() == nil }

// traffic is what has arrived: bytes, and messages that are complete. It doesn't ask the client for its Stats, which
// waits for a write that waits for room.
func (k *link) traffic() traffic {
	return traffic{bytes: k.socket.arrived.Load(), messages: atomic.LoadUint64(&k.nc.InMsgs)}
}

// traffic is a reading of a connection's counters.
type traffic struct {
	bytes    int64
	messages uint64
}

// midway says that since an earlier reading bytes have arrived and no message has: one is on its way that is
// too large for the link to carry in that time, and everything else queues behind it.
func (t traffic) midway(before traffic) bool {
	return t.bytes > before.bytes && t.messages == before.messages
}

// redirect ends a link whose node does not lead the origin.
type redirect struct{ leader string } // empty when the node does not know

func (e *redirect) Error() string { return fmt.Sprintf("%v: %q", errRedirected, e.leader) }

func (e *redirect) Unwrap() error { return errRedirected }

// close ends the connection and everything on it.
func (k *link) close() {
	k.r.link.CompareAndSwap(k, nil)
	k.cancel(errDisconnect)
	k.socket.hangUp()
	k.running.Wait()
	k.nc.Close()
	if !k.leads {
		return
	}
	k.r.mu.Lock()
	k.r.status.rtt = nil
	k.r.mu.Unlock()
}

// lead starts acks, pings, relays and comparisons, once it is known that the other side leads the origin.
func (k *link) lead() {
	if k.leads {
		return
	}
	k.leads = true
	k.r.next = 0 // after a loss, begin with the primary again
	k.running.Go(func() { k.acknowledge(k.lost) })
	k.running.Go(func() { k.measure(k.lost) })
	k.r.link.Store(k)
	if k.r.peers[k.r.peer.Name].witness {
		return
	}
	k.running.Go(func() { k.relay(k.lost) })
	k.running.Go(func() { k.compare(k.lost) })
}

// request asks the origin and verifies its answer.
func (k *link) request(ctx context.Context, subject string, kind wire.Kind, req proto.Message, answer wire.Kind, into proto.Message) error {
	b, err := k.r.signer.Seal(kind, req)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, k.r.cfg.RequestTimeout)
	defer cancel()
	m, err := k.nc.RequestWithContext(ctx, subject, b)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	return k.r.verifier.Open(answer, m.Data, into)
}

// sync is the handshake: it tells where this DC stands and learns where to pull from.
func (k *link) sync(ctx context.Context, gap bool) (*wire.SyncReply, error) {
	r := k.r
	at := r.cfg.Chain.Position(r.peer.Name)
	req := &wire.SyncRequest{
		From: r.cfg.Local, To: r.peer.Name, Nonce: rand.Uint64(), Position: wire.FromPosition(at), Gap: gap, Codecs: r.codecs(),
		TakesMoreFrames: r.own().Bundles, TakesMacs: r.own().MACs,
	}
	var reply wire.SyncReply
	err := k.request(ctx, syncSubject(r.peer.Name, r.cfg.Local), wire.Kind_KIND_SYNC_REQUEST, req, wire.Kind_KIND_SYNC_REPLY, &reply)
	if err != nil {
		return nil, fmt.Errorf("handshake with %s: %w", r.peer.Name, err)
	}
	if reply.From != r.peer.Name || reply.To != r.cfg.Local || reply.Nonce != req.Nonce {
		return nil, fmt.Errorf("handshake with %s: %w: answer to another request", r.peer.Name, wire.ErrMessage)
	}
	r.heard()
	k.macs.Store(reply.TakesMacs && r.own().MACs) // another node may lead now, of an older build
	r.mu.Lock()
	r.status.nodes = reply.Nodes
	r.mu.Unlock()
	return &reply, nil
}
