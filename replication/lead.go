package replication

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"geogate/replication/health"
	"geogate/replication/progress"
	"geogate/replication/registrar"
	"geogate/replication/skew"
	"geogate/replication/wire"
)

// lead is what lives while this node leads its DC:
//
//	outbox     chain -> JetStream                     one goroutine, and one that awaits JetStream's answers
//	source     handshakes of a peer, and its difference      one each, and one while a difference runs
//	receiver   a peer's stream -> our Raft group             one each, and three per connection
//	fetches    a peer's requests for a snapshot or a third DC's frames      one each
//	countAcks  acks of a peer -> progress, health            one each
//	verifies   a peer's questions for buckets and keys              one each
//	judge      health of all peers                           one
//	confirm    matrix -> Confirmer                           one
//	registrar  homes of single-writer keyspaces                   see its package
//	serving    calls and commands of peers                     one each
type lead struct {
	*Engine
	term     uint64
	tracker  *progress.Tracker
	outbox   *outbox
	peers    map[string]*peer
	order    []string // peers' names, sorted
	data     []string // those that frames are exchanged with
	running  sync.WaitGroup
	merging  chan struct{}                   // held while a snapshot is merged: one at a time
	pace     *pace                           // of what is sent of snapshots
	retired  chan struct{}                   // closed when this node is no longer known as the leader
	ages     ages                            // of what peers may not have
	opinions atomic.Pointer[[]*wire.Opinion] // on the peers, for acks and pongs
	trying   atomic.Int64                    // writes that wait on the strength of a half-open breaker
	refusal  atomic.Pointer[error]           // why multi-writer writes are not stamped here; nil when they are

	registrar *registrar.Registrar // nil without single-writer keyspaces
	session   uint64               // of calls
	callCtx   context.Context      // ends when this node no longer leads; for what is served to peers
	callEnd   context.CancelFunc
	serving   sync.WaitGroup // calls and commands of peers
	settled   atomic.Uint64  // the sum of the epochs at the last settling
	wantMu    sync.Mutex
	wants     map[string]wanted // by origin; guarded by wantMu

	ledSince time.Time

	clockMu sync.Mutex
	fence   skew.Fence    // guarded by clockMu, as below
	changes []skew.Change // newest last
}

// peer is what the leader knows of another DC.
type peer struct {
	name       string
	witness    bool // one of the two holds no data: commands and heartbeats are all that is exchanged
	source     *source
	receiver   *receiver
	acks       chan []byte    // capacity 1: the newest that has not been looked at
	fetches    chan fetchJob  // capacity 1: the newest that is not being answered
	verifies   chan verifyJob // the same
	comparison *comparison

	relaying atomic.Bool   // its frames are being taken from another DC
	callees  *callees      // belongs to the goroutine of the subscription
	commands chan struct{} // one for each of its commands to the acceptors that is being applied

	mu      sync.Mutex
	machine health.Machine // guarded by mu, as all below
	breaker health.Breaker
	events  health.Ring
	contact time.Time // of the last ack that counted; zero for none
	ack     ackOrder
	past    []uint64          // incarnations of the peer that have ended, newest last
	marks   []*wire.Watermark // nil while unknown
	counted bool              // an ack of the present incarnation has counted
	epochs  map[string]uint64 // of keyspaces, as it has learnt them
	warned  string            // what was last said about its acks, to say it once
	lost    string            // why it needs a snapshot; empty while it does not
	said    map[string]said   // what others think of it, by DC; under its own name what it thinks of this DC
	verdict health.Verdict    // why it is not heard from
	takes   codecs            // as it last said
}

// ackOrder orders the acks of one incarnation of a peer.
type ackOrder struct {
	incarnation, term, seq uint64
}

func newLead(e *Engine, term uint64) (*lead, error) {
	l := &lead{Engine: e, term: term, peers: map[string]*peer{}, merging: make(chan struct{}, 1), retired: make(chan struct{})}
	l.pace = newPace(e.cfg.SnapshotRate)
	l.ledSince = e.cfg.Clock()
	l.fence = skew.New(l.ledSince)
	for i := range e.cfg.Peers {
		cfg := &e.cfg.Peers[i]
		p := &peer{name: cfg.Name, acks: make(chan []byte, 1), fetches: make(chan fetchJob, 1), verifies: make(chan verifyJob, 1), comparison: newComparison(l, cfg.Name), machine: health.New(e.cfg.Clock()), breaker: health.NewBreaker(e.cfg.Clock()), events: health.Ring{Size: e.cfg.HealthEvents}, said: map[string]said{}}
		p.callees, p.commands = newCallees(e.cfg.MaxCalls), make(chan struct{}, maxCommands)
		p.source = newSource(l, cfg.Name)
		p.receiver = newReceiver(l, cfg)
		l.peers[cfg.Name] = p
		l.order = append(l.order, cfg.Name)
		if p.witness = cfg.Witness || e.cfg.Witness; !p.witness {
			l.data = append(l.data, cfg.Name)
		}
	}
	slices.Sort(l.order)
	slices.Sort(l.data)
	l.tracker = progress.New(e.cfg.Local, l.data)
	l.outbox = newOutbox(l)
	l.session, l.wants = rand.Uint64()|1, map[string]wanted{}
	l.callCtx, l.callEnd = context.WithCancel(context.Background())
	var err error
	if l.registrar, err = e.registrarFor(l); err != nil {
		l.callEnd()
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return l, nil
}

// run returns when ctx has ended and every goroutine with it.
func (l *lead) run(ctx context.Context) {
	log := l.cfg.Logger.With("term", l.term)
	log.Info("replication leads", "peers", l.order)
	defer log.Info("replication no longer leads")
	defer l.running.Wait()
	if l.registrar != nil {
		l.spawn(ctx, l.registrar.Run)
	}
	if len(l.peers) == 0 {
		<-ctx.Done()
		return
	}
	for ctx.Err() == nil {
		sub, err := l.nc.Subscribe(ackSubject(l.cfg.Local, "")+"*", l.onAck)
		if err == nil {
			defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone
			break
		}
		log.Error("subscribe to acks", "error", err)
		pause(ctx, l.cfg.RetryMax)
	}
	if len(l.data) > 0 {
		l.spawn(ctx, l.outbox.run)
		l.spawn(ctx, l.confirm)
	}
	for _, p := range l.peers {
		l.spawn(ctx, p.receiver.run)
		l.spawn(ctx, func(ctx context.Context) { l.countAcks(ctx, p) })
		if p.witness {
			continue
		}
		l.spawn(ctx, p.source.run)
		l.spawn(ctx, func(ctx context.Context) { l.serveFetches(ctx, p) })
		l.spawn(ctx, func(ctx context.Context) { l.serveVerifies(ctx, p) })
	}
	l.spawn(ctx, l.judge)
	if l.registrar != nil {
		l.spawn(ctx, l.watchHomes)
	}
	<-ctx.Done()
}

func (l *lead) spawn(ctx context.Context, f func(context.Context)) {
	l.running.Go(func() { f(ctx) })
}

// maxCommands bounds the commands of one peer that are being applied.
const maxCommands = 64

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// committed waits until a revision of this DC is applied here.
func (l *lead) committed(ctx context.Context, revision int64) error {
	for {
		changed := l.cfg.Chain.Changed()
		if l.cfg.Chain.Position(l.cfg.Local).Revision >= revision {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
