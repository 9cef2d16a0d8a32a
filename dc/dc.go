package dc

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
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

	defaultMaxLeases               = 500_000
	defaultLeaseRevokesPerSecond   = 1000
	defaultLeaseCheckpointInterval = 5 * time.Minute
	defaultMinFreeBytes            = 256 << 20
	defaultSpaceInterval           = time.Second
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

	Compaction Compaction // of history, without being asked

	// QuotaBytes is the size of the database's file above which puts are refused until an operator has made
	// room and cleared the alarm. 0 means none. Frames of other datacenters are applied in any case.
	QuotaBytes int64
	// MaxLeases bounds the leases that are granted; 0 means 500,000, which take some 200 MB
	// without their keys. LeaseRevokesPerSecond
	// bounds how fast those that have ended are revoked; 0 means 1000. LeaseCheckpointInterval is how often the
	// leader writes down what is left of a longer lease: a change of leader adds at most that much to it. 0 means
	// 5 min. The last two are as in etcd.
	MaxLeases               int
	LeaseRevokesPerSecond   int
	LeaseCheckpointInterval time.Duration
	// MinFreeBytes is what must be free on the disk of Dir for puts to be taken; 0 means 256 MiB, less than 0 none.
	// SpaceInterval is how often that is looked at; 0 means 1 s. FreeBytes tells it; nil asks the operating system.
	MinFreeBytes  int64
	SpaceInterval time.Duration
	FreeBytes     func(dir string) (int64, error)

	// ReplicaCheckInterval is how often the leader has the nodes of the datacenter compare their data, which takes two
	// small entries of the log; 0 means 1 min, less than 0 never.
	ReplicaCheckInterval time.Duration

	MaxQueueBytes   int              // of writes that wait to be proposed; 0 means 64 MiB. More are refused with ErrBusy
	MaxRequestBytes int              // of one write; 0 means 1.5 MiB, as etcd
	Now             func() time.Time // wall clock; nil means time.Now
	Logger          *slog.Logger     // nil means off
	Registerer      prometheus.Registerer

	// Witness says that this DC votes on homes of keyspaces and holds no data: its marks are nobody's.
	Witness bool

	// MultiWriter are the prefixes of multi-writer keyspaces that lie within single-writer ones, the same in all DCs.
	MultiWriter []string

	aside    int64 // bound of what is set aside, in bytes; 0 means maxAsideBytes. For tests: replicas must agree
	step     int   // keys that a step of taking back writes; 0 means stepKeys. Likewise
	requests int   // how many request ids are remembered; 0 means maxRequests. For tests: replicas must agree
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
	if c.MinFreeBytes == 0 {
		c.MinFreeBytes = defaultMinFreeBytes
	}
	if c.SpaceInterval == 0 {
		c.SpaceInterval = defaultSpaceInterval
	}
	if c.ReplicaCheckInterval == 0 {
		c.ReplicaCheckInterval = defaultReplicaCheckInterval
	}
	if c.FreeBytes == nil {
		c.FreeBytes = diskFree
	}
	if c.SpaceInterval < 0 {
		return errors.New("dc: negative interval of looking at the disk")
	}
	if c.RetentionBytes < 0 || c.RetentionAge < 0 || c.RetentionInterval < 0 {
		return errors.New("dc: negative retention")
	}
	if c.QuotaBytes < 0 {
		return errors.New("dc: negative quota")
	}
	if c.Compaction.Period < 0 || c.Compaction.Revisions < 0 || c.Compaction.Period > 0 && c.Compaction.Revisions > 0 {
		return fmt.Errorf("dc: compaction keeps %s and %d revisions: one of the two, and not negative", c.Compaction.Period, c.Compaction.Revisions)
	}
	c.MaxLeases = cmp.Or(c.MaxLeases, defaultMaxLeases)
	c.LeaseRevokesPerSecond = cmp.Or(c.LeaseRevokesPerSecond, defaultLeaseRevokesPerSecond)
	c.LeaseCheckpointInterval = cmp.Or(c.LeaseCheckpointInterval, defaultLeaseCheckpointInterval)
	if c.MaxLeases < 0 || c.LeaseRevokesPerSecond < 0 || c.LeaseCheckpointInterval < time.Second {
		return fmt.Errorf("dc: max leases %d and lease revokes per second %d must not be negative, the lease checkpoint interval %s not below 1 s",
			c.MaxLeases, c.LeaseRevokesPerSecond, c.LeaseCheckpointInterval)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// electionTimeout is the time after which followers give up a silent leader.
func (c *Config) electionTimeout() time.Duration {
	return time.Duration(cmp.Or(c.Consensus.ElectionTicks, 10)) * cmp.Or(c.Consensus.TickInterval, 100*time.Millisecond)
}

// minLeaseTTL is one and a half election timeouts in whole seconds, as in etcd: 2 by default.
func (c *Config) minLeaseTTL() int64 {
	return int64((c.electionTimeout()*3/2 + time.Second - 1) / time.Second)
}

// store is the configuration of the store.
func (c *Config) store() store.Config {
	sc := c.Store
	sc.Path = filepath.Join(c.Dir, "store", "db")
	sc.Logger, sc.Registerer = c.Logger, c.Registerer
	return sc
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
	opened     moment
	heard      atomic.Pointer[heard] // nil before the first one
	space      *space
	leadership leadership
	leases     *leases
	replica    replicaCheck

	// Owned by the apply goroutine of consensus.
	state   state
	conf    []byte // marshaled membership, stored with the applied index
	scratch scratch

	published atomic.Pointer[published]
	asideFull atomic.Bool                     // the last step of taking back found no room
	heldAt    atomic.Pointer[map[string]held] // by origin; replaced by the apply goroutine, never changed
	users     atomic.Pointer[auth.State]      // never nil once open
	signal    signal
}

// Open opens or creates the replica's data and reads the log. It starts nothing.
func Open(cfg Config) (*DC, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := FinishForce(cfg.Dir); err != nil {
		return nil, err
	}
	d, err := openData(cfg)
	if err != nil {
		return nil, err
	}
	cc := cfg.Consensus
	cc.Dir, cc.StateMachine, cc.Batcher = cfg.Dir, d, batcher{d}
	cc.Logger, cc.Registerer = cfg.Logger, cfg.Registerer
	if d.node, err = consensus.Open(cc); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	return d, nil
}

// openData opens the data without the group.
func openData(cfg Config) (*DC, error) {
	clock := event.NewClock(cfg.Now)
	d := &DC{
		cfg: cfg, log: cfg.Logger, clock: clock,
		origins: append([]string{cfg.Name}, cfg.Peers...),
		metrics: newMetrics(cfg.Registerer),
		queue:   newQueue(newID(), clock, cfg.MaxQueueBytes, cfg.MaxRequestBytes+requestSlackBytes),
		opened:  moment{wall: cfg.Now(), steady: time.Now()},
	}
	d.leases = newLeases(&d.cfg, d.metrics)
	d.queue.alone = len(cfg.Peers) == 0
	d.leadership.changed = make(chan struct{})
	d.space = newSpace(&cfg)
	d.metrics.watch(cfg.Registerer, d.space)
	var err error
	if d.store, err = store.Open(cfg.store()); err != nil {
		return nil, err
	}
	if d.state, err = loadState(d.store.Meta); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	if err := d.leases.load(d.store); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	if err := d.loadHomes(); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	if err := d.loadAuth(); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	d.conf = d.store.Durable().Conf
	d.metrics.showAlarms(d.state.alarms)
	d.metrics.showRestored(d.state.restored)
	clock.Observe(d.state.high)
	d.publish(d.store.Durable().Index)
	return d, nil
}

// Run takes part in the group until ctx ends or the replica fails, then closes the data.
func (d *DC) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	// The store outlives consensus by a moment: what was applied last is still flushed.
	storeCtx, stopStore := context.WithCancel(context.WithoutCancel(ctx))
	careCtx, stopCaring := context.WithCancel(ctx)
	g.Go(func() error {
		defer stopStore()
		defer stopCaring()
		defer d.queue.abort()
		return d.node.Run(ctx)
	})
	g.Go(func() error { return d.store.Run(storeCtx) })
	for _, care := range []func(context.Context){d.retain, d.compactAutomatically, d.runLessor, d.watchSpace, d.takeBackRest, d.checkReplicas} {
		g.Go(func() error {
			care(careCtx)
			return nil
		})
	}
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
