package dc

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"geogate/consensus"
	"geogate/dc/auth"
	"geogate/dc/store"
	"geogate/replication/event"
)

// Defaults of [Config].
const (
	defaultMaxQueueBytes   = 64 << 20
	defaultMaxRequestBytes = 1536 << 10
	requestSlackBytes      = 512 << 10 // what etcd allows on top, for the encoding

	defaultRetentionBytes    = 4 << 30
	defaultRetentionAge      = 72 * time.Hour
	defaultRetentionInterval = time.Second
)

// Config says where a replica keeps its data and with whom it forms its group.
type Config struct {
	Name      string           // of the datacenter
	Peers     []string         // names of the other datacenters
	Dir       string           // holds the store ("store") and the log ("wal")
	Consensus consensus.Config // StateMachine, Batcher, Dir, Logger and Registerer are filled in here
	Store     store.Config     // Path, Logger and Registerer are filled in here

	// RetentionBytes and RetentionAge bound what each chain keeps for a DC that has not confirmed it; a DC that
	// comes back after more than that needs a snapshot. 0 means 4 GiB and 72 h. RetentionInterval is how often
	// the leader looks; 0 means 1 s.
	RetentionBytes    int64
	RetentionAge      time.Duration
	RetentionInterval time.Duration

	MaxQueueBytes   int              // of writes that wait to be proposed; 0 means 64 MiB. More are refused with ErrBusy
	MaxRequestBytes int              // of one write; 0 means 1.5 MiB, as etcd
	Now             func() time.Time // wall clock; nil means time.Now
	Logger          *slog.Logger     // nil means off
	Registerer      prometheus.Registerer

	requests int // how many request ids are remembered; 0 means maxRequests. For tests: replicas must agree
}

func (c *Config) validate() error {
	if c.Name == "" {
		return errors.New("dc: no name")
	}
	if c.Dir == "" {
		return errors.New("dc: no directory")
	}
	for _, p := range c.Peers {
		if p == c.Name {
			return fmt.Errorf("dc: %q is named as its own peer", p)
		}
	}
	if c.MaxQueueBytes == 0 {
		c.MaxQueueBytes = defaultMaxQueueBytes
	}
	if c.MaxRequestBytes == 0 {
		c.MaxRequestBytes = defaultMaxRequestBytes
	}
	if c.RetentionBytes == 0 {
		c.RetentionBytes = defaultRetentionBytes
	}
	if c.RetentionAge == 0 {
		c.RetentionAge = defaultRetentionAge
	}
	if c.RetentionInterval == 0 {
		c.RetentionInterval = defaultRetentionInterval
	}
	if c.RetentionBytes < 0 || c.RetentionAge < 0 || c.RetentionInterval < 0 {
		return errors.New("dc: negative retention")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// DC is one replica of a datacenter's data.
type DC struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	clock   *event.Clock
	origins []string // all datacenters, this one first

	store      *store.Store
	node       *consensus.Node
	queue      *queue
	leadership leadership

	// Owned by the apply goroutine of consensus.
	state state
	conf  []byte // marshaled membership, stored with the applied index

	published atomic.Pointer[published]
	users     atomic.Pointer[auth.State] // never nil once open
	signal    signal
}

// published is what readers see of the small state; it is replaced after each entry and never changed.
type published struct {
	incarnation uint64
	positions   map[string]event.Position
	vector      event.Vector
	digest      uint64
	revision    int64
	index       uint64 // of the log
	high        event.Stamp
	marks       []event.Mark
	reach       map[life]int64
	holds       event.Vector // what the digest is of; see marks.go
}

// Open opens or creates the replica's data and reads the log. It starts nothing.
func Open(cfg Config) (*DC, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	clock := event.NewClock(cfg.Now)
	d := &DC{
		cfg: cfg, log: cfg.Logger, clock: clock,
		origins: append([]string{cfg.Name}, cfg.Peers...),
		metrics: newMetrics(cfg.Registerer),
		queue:   newQueue(newID(), clock, cfg.MaxQueueBytes, cfg.MaxRequestBytes+requestSlackBytes),
		signal:  newSignal(),
	}
	d.queue.alone = len(cfg.Peers) == 0
	d.leadership.changed = make(chan struct{})
	sc := cfg.Store
	sc.Path = filepath.Join(cfg.Dir, "store", "db")
	sc.Logger, sc.Registerer = cfg.Logger, cfg.Registerer
	var err error
	if d.store, err = store.Open(sc); err != nil {
		return nil, err
	}
	if d.state, err = loadState(d.store.Meta); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	if err := d.loadAuth(); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	d.conf = d.store.Durable().Conf
	clock.Observe(d.state.high)
	d.publish(d.store.Durable().Index)
	cc := cfg.Consensus
	cc.Dir, cc.StateMachine, cc.Batcher = cfg.Dir, d, batcher{d}
	cc.Logger, cc.Registerer = cfg.Logger, cfg.Registerer
	if d.node, err = consensus.Open(cc); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	return d, nil
}

// Run takes part in the group until ctx ends or the replica fails, then closes the data.
func (d *DC) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	// The store outlives consensus by a moment: what was applied last is still flushed.
	storeCtx, stopStore := context.WithCancel(context.WithoutCancel(ctx))
	retainCtx, stopRetaining := context.WithCancel(ctx)
	g.Go(func() error {
		defer stopStore()
		defer stopRetaining()
		defer d.queue.abort()
		return d.node.Run(ctx)
	})
	g.Go(func() error { return d.store.Run(storeCtx) })
	g.Go(func() error {
		d.retain(retainCtx)
		return nil
	})
	err := g.Wait()
	return errors.Join(err, d.store.Close())
}

// Close ends a replica that was never run.
func (d *DC) Close() error { return errors.Join(d.node.Close(), d.store.Close()) }

// Kill ends the replica as a crash would: nothing is handed over, flushed or answered. Run returns.
func (d *DC) Kill() {
	d.store.Kill()
	d.node.Kill()
}

func (d *DC) publish(index uint64) {
	p := &published{
		index: index, high: d.state.high,
		incarnation: d.state.incarnation,
		positions:   make(map[string]event.Position, len(d.origins)),
		vector:      event.Vector{},
		digest:      d.store.Digest(),
		revision:    d.store.Revision(),
	}
	for _, o := range d.origins {
		p.positions[o] = event.Position{Origin: o}
		p.vector[o] = 0
	}
	for o, pos := range d.state.positions {
		p.positions[o] = pos
		p.vector[o] = pos.Revision
	}
	d.publishAuth()
	d.provideSecret()
	p.marks, p.reach, p.holds = d.state.marks(), maps.Clone(d.state.reach), d.state.holds(p.vector)
	d.published.Store(p)
	d.signal.fire()
}

// batcher gives consensus the queue without showing its methods on DC.
type batcher struct{ dc *DC }

func (b batcher) Waiting() <-chan struct{} { return b.dc.queue.waiting }

// Take labels the entry with the term that LeaderChanged announced last: consensus takes entries only while
// it leads in that very term.
func (b batcher) Take(limit int) []byte {
	term, _ := b.dc.Leading()
	return b.dc.queue.take(term, limit)
}

func (b batcher) Dropped(_ []byte, err error) { b.dc.queue.dropped(err) }

// newID is a random number that is not zero.
func newID() uint64 {
	var b [8]byte
	for {
		rand.Read(b[:]) //nolint:errcheck // documented never to fail
		if v := binary.BigEndian.Uint64(b[:]); v != 0 {
			return v
		}
	}
}
