package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"geogate/replication/event"
	"geogate/replication/policy"
	"geogate/replication/progress"
	"geogate/replication/registrar"
	"geogate/replication/wire"
)

// Engine carries this DC's frames to its peers and theirs to it. There is one on each node; only the one
// whose node leads ships, receives and counts acks.
type Engine struct {
	cfg       Config
	signer    *wire.Signer
	verifiers map[string]*wire.Verifier // by peer's name
	byToken   map[string]string         // peer's name by its token
	metrics   *metrics
	pieces    *wire.Pieces
	embedded  *embedded           // nil with external NATS, or without peers
	nc        *nats.Conn          // nil without peers
	js        jetstream.JetStream // nil without peers
	apiPrefix string              // as peers see it
	holders   int                 // DCs that hold the data, this one counted

	closing context.Context // ends Run and Lead at Close
	cancel  context.CancelFunc
	mu      sync.Mutex     // orders running.Add before Close's Wait
	running sync.WaitGroup // Run and Lead
	turn    chan struct{}  // held by the one Lead

	awaits     awaits
	current    atomic.Pointer[lead] // nil while this node does not lead
	handing    sync.RWMutex         // held for reading while a handshake is handed to current
	leaderNode atomic.Pointer[string]
	nodes      atomic.Pointer[[]*wire.Endpoint] // of this DC
	ackSeq     atomic.Uint64                    // of the last ack sent; starts at the clock, so that it grows over restarts

	began, wallBegan time.Time // one moment, by Clock and by Wall
	beats            time.Time // since when beats are counted
}

// Open starts the embedded server, or begins to connect to the external one, which need not be up; without peers, there is
// no need of either. It neither ships nor answers anything before [Engine.Run] and [Engine.Lead].
func Open(cfg Config) (*Engine, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, verifiers: map[string]*wire.Verifier{}, byToken: map[string]string{},
		turn: make(chan struct{}, 1), apiPrefix: peerAPIPrefix, holders: 1, began: cfg.Clock(), wallBegan: cfg.Wall(), beats: time.Now(),
	}
	e.awaits = newAwaits(e.began)
	e.ackSeq.Store(uint64(e.cfg.Clock().UnixNano()))
	e.closing, e.cancel = context.WithCancel(context.Background())
	var err error
	if e.signer, err = wire.NewSigner(cfg.Key); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	for _, p := range cfg.Peers {
		if !p.Witness && !cfg.Witness {
			e.holders++
		}
		if e.verifiers[p.Name], err = e.verifierOf(p.PublicKey); err != nil {
			return nil, fmt.Errorf("%w: peer %s: %w", ErrConfig, p.Name, err)
		}
		e.byToken[token(p.Name)] = p.Name
	}
	if e.pieces, err = wire.NewPieces(cfg.MaxFrameBytes); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if e.metrics, err = newMetrics(cfg.Registerer, e); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if e.metrics.homes, err = registrar.NewMetrics(cfg.Registerer); err != nil {
		e.metrics.unregister()
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := e.connect(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Engine) verifierOf(public string) (*wire.Verifier, error) {
	v, err := wire.NewVerifier(public)
	if err != nil || e.cfg.withoutMACs {
		return v, err
	}
	return v.With(e.signer)
}

// connect opens the engine's own connection to this DC's NATS.
func (e *Engine) connect() error {
	if len(e.cfg.Peers) == 0 {
		return nil
	}
	var opts []nats.Option
	urls := ""
	if e.cfg.NATS.Embedded != nil {
		var err error
		if e.embedded, err = openEmbedded(&e.cfg); err != nil {
			return err
		}
		if opts, err = e.embedded.options(); err != nil {
			return fmt.Errorf("%w: %w", ErrServer, err)
		}
	} else {
		var err error
		if urls, opts, err = e.cfg.NATS.External.options(); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		e.apiPrefix = e.cfg.NATS.External.PeerAPIPrefix
	}
	nc, err := nats.Connect(urls, append(opts, e.localOptions()...)...)
	if err != nil {
		return fmt.Errorf("replication: connect to this datacenter's NATS: %w", err)
	}
	e.nc = nc
	// The window in bytes comes first; the one in messages only has to be larger than it ever gets.
	e.js, err = jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1<<20),
		jetstream.WithPublishAsyncTimeout(e.cfg.PublishTimeout), jetstream.WithDefaultTimeout(e.cfg.RequestTimeout))
	return err
}

// Close stops everything that still runs, then the server. It is safe to call twice.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.cancel()
	e.mu.Unlock()
	e.running.Wait()
	if e.js != nil {
		e.js.CleanupPublisher()
	}
	if e.nc != nil {
		e.nc.Close()
	}
	if e.embedded != nil {
		e.embedded.close()
	}
	e.metrics.unregister()
	e.metrics.homes.Unregister(e.cfg.Registerer)
	return nil
}

// Addr is where the embedded server listens; empty where there is none.
func (e *Engine) Addr() string {
	if e.embedded == nil {
		return ""
	}
	return e.embedded.addr()
}

// until is a context that ends with ctx or at Close, and counts as running. After Close it has ended.
func (e *Engine) until(ctx context.Context) (context.Context, func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing.Err() != nil {
		return e.closing, func() {}
	}
	e.running.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(e.closing, cancel)
	return ctx, func() {
		stop()
		cancel()
		e.running.Done()
	}
}

// Run answers the peers' handshakes and pings until ctx ends. It fails when the embedded server does.
func (e *Engine) Run(ctx context.Context) error {
	ctx, done := e.until(ctx)
	defer done()
	if ctx.Err() != nil {
		return nil
	}
	if e.nc == nil {
		<-ctx.Done()
		return nil
	}
	for verb, handle := range map[string]nats.MsgHandler{"sync": e.onSync, "ping": e.onPing, "fetch": e.onFetch, "verify": e.onVerify, "home": e.onRegister, "call": e.onCall} {
		sub, err := e.nc.Subscribe(subject(e.cfg.Local, verb, "*"), handle)
		if err != nil {
			return fmt.Errorf("replication: subscribe: %w", err)
		}
		defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone
	}
	if e.embedded == nil {
		<-ctx.Done()
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case text := <-e.embedded.logger.fatal:
		return fmt.Errorf("%w: %s", ErrServer, text)
	}
}

// Lead ships, receives and counts acks while this node leads its DC in the given Raft term. It returns
// when ctx ends and all its goroutines are gone. Only one runs at a time; the next one waits.
func (e *Engine) Lead(ctx context.Context, term uint64) error {
	ctx, done := e.until(ctx)
	defer done()
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return nil
	}
	l, err := newLead(e, term)
	if err != nil {
		return err
	}
	e.current.Store(l)
	retire := context.AfterFunc(ctx, func() { e.retire(l) })
	l.run(ctx)
	if retire() { // cannot be: run returns when ctx has ended
		e.retire(l)
	}
	<-l.retired
	l.serving.Wait()
	return nil
}

// retire makes this node one that does not lead, before the goroutines of the lead have ended: no wait
// begins any more, and handshakes learn that they must go elsewhere.
func (e *Engine) retire(l *lead) {
	e.handing.Lock()
	e.current.Store(nil)
	e.handing.Unlock()
	l.callEnd()
	l.tracker.Close(ErrNotLeading)
	close(l.retired)
}

// SetLeader names the node that leads this DC, for the answer to peers that ask another one; empty when
// it is not known.
func (e *Engine) SetLeader(node string) { e.leaderNode.Store(&node) }

func (e *Engine) leader() string {
	if p := e.leaderNode.Load(); p != nil {
		return *p
	}
	return ""
}

// SetNodes says where peers reach the nodes of this DC, so that they find those that their configuration does not
// list. Those without a URL are left out.
func (e *Engine) SetNodes(nodes []Endpoint) {
	told := make([]*wire.Endpoint, 0, len(nodes))
	for _, n := range nodes {
		if n.Node != "" && n.URL != "" && len(told) < maxLearned {
			told = append(told, &wire.Endpoint{Node: n.Node, Url: n.URL})
		}
	}
	e.nodes.Store(&told)
}

func (e *Engine) ownNodes() []*wire.Endpoint {
	if p := e.nodes.Load(); p != nil {
		return *p
	}
	return nil
}

// Check says whether a policy can be met by the DCs that are not known to be down. The error wraps
// [ErrUnreachable] and names those that are, or [ErrNotLeading].
func (e *Engine) Check(p policy.Policy) error {
	if p == policy.Async {
		return nil
	}
	e.awaits.note(e.cfg.Clock())
	l := e.current.Load()
	if l == nil {
		return ErrNotLeading
	}
	return l.check(p)
}

// Hurry says that somebody here waits for the peers to come nearer, as a write does that may wait for their acks.
func (e *Engine) Hurry() { e.awaits.note(e.cfg.Clock()) }

// Wait returns when the policy is met for a revision of this DC's chain. ackedBy names the DCs known to
// have committed it at that moment, the local one first, then the peers by name; it is valid with an error
// too: [ErrNotMet] when ctx ended first, [ErrNotLeading] when this node does not lead (any more).
func (e *Engine) Wait(ctx context.Context, revision int64, p policy.Policy) (ackedBy []string, err error) {
	if p != policy.Async {
		e.awaits.note(e.cfg.Clock())
	}
	l := e.current.Load()
	if l == nil {
		if p == policy.Async && revision <= e.cfg.Chain.Position(e.cfg.Local).Revision {
			return []string{e.cfg.Local}, nil
		}
		return nil, ErrNotLeading
	}
	if err := l.committed(ctx, revision); err != nil {
		return nil, fmt.Errorf("%w: revision %d is not committed here: %w", ErrNotMet, revision, err)
	}
	ackedBy, err = l.tracker.WaitUnless(ctx, revision, p, l.settledFor(ctx, revision))
	if err != nil && !errors.Is(err, ErrNotLeading) && !errors.Is(err, ErrSetAside) {
		err = fmt.Errorf("%w: %s for revision %d, committed in %v: %w", ErrNotMet, p, revision, ackedBy, err)
	}
	return ackedBy, err
}

// Notify is [Engine.Wait] for a revision that is committed here, and for who does not wait: to is told once, by Notify itself if there
// is nothing to wait for. It is called with locks held: it must neither block nor call the engine. After cancel, to may have been told or
// never is; what it returns is known of the revision then. ok is false where this node does not lead or has not applied the
// revision yet; then to is not told.
func (e *Engine) Notify(revision int64, p policy.Policy, to progress.Receiver) (cancel func() (ackedBy []string), ok bool) {
	l := e.current.Load()
	if l == nil || l.cfg.Chain.Position(l.cfg.Local).Revision < revision {
		return nil, false
	}
	return l.tracker.Notify(revision, p, to), true
}

// Holders is how many DCs hold the data, this one counted.
func (e *Engine) Holders() int { return e.holders }

// Matrix is the vector of each DC, as far as it is known to this node; the local row is always there.
func (e *Engine) Matrix() map[string]event.Vector {
	if l := e.current.Load(); l != nil {
		return l.matrix()
	}
	return map[string]event.Vector{e.cfg.Local: e.ownVector()}
}

func (e *Engine) ownVector() event.Vector {
	v := e.cfg.Chain.Vector().Clone()
	if p := e.cfg.Chain.Position(e.cfg.Local); p.Revision > v[e.cfg.Local] {
		v[e.cfg.Local] = p.Revision
	}
	return v
}
