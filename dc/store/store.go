package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// firstRevision is the revision of a store without a write, as in etcd.
const firstRevision = 1

// Store is the data of one replica.
type Store struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	hub     hub

	kick    chan struct{} // wakes the flusher early; capacity 1
	dirty   chan struct{} // tells it that there is something to flush by and by; capacity 1
	closing chan struct{} // closed by Close and Kill

	// status is what readers of single numbers see; replaced under mu, at Commit.
	status  atomic.Pointer[status]
	durable atomic.Pointer[Applied]
	origins atomic.Pointer[[]string] // replaced under mu, by the apply goroutine
	size    atomic.Int64             // of the file, after the last flush
	free    atomic.Int64             // bytes of its free pages
	harm    harm
	arenas  arenas
	locked  atomic.Bool // bbolt holds its lock for good: the file can't be closed

	flushMu sync.Mutex     // one flush, restore or close at a time; taken before mu
	rewrite *rewrite       // the defragmentation under way, nil mostly; guarded by flushMu
	retired sync.WaitGroup // databases that were replaced and still have readers

	// mu guards everything below. A batch holds it for writing from Begin to Commit. Lock order: flushMu, mu,
	// hub.mu, Watcher.mu.
	mu        sync.RWMutex
	roomy     sync.Cond // pending bytes went down, or the store failed or closed
	db        *bolt.DB
	index     *index
	active    *buffer
	flushing  *buffer // nil when no flush is under way
	state     map[string][]byte
	originIDs map[string]uint16
	chains    map[string]*chain
	conflicts conflictLog
	requests  requestLog
	leases    map[int64][]byte // records of the caller by id
	system    systemTable
	records   records
	garbage   garbage
	hasher    hasher
	buckets   bucketSums

	revision  int64
	compacted int64
	keep      int64 // see KeepHistory; 0 for none
	applied   Applied
	digest    uint64

	changed   chan struct{} // closed at the next Commit; nil while nobody waits
	changedMu sync.Mutex    // guards changed

	snapshots map[*snapshot]struct{}
	running   int   // calls of Run
	err       error // sticky: no more writes
	aborted   bool  // the index holds half a batch: no more reads
	killed    bool
	closed    bool
}

// status is what a Commit publishes.
type status struct {
	revision, compacted int64
	applied             Applied
	digest              uint64
	keys, graves        int
}

// Open opens the store, or creates it. It starts nothing: without [Store.Run] changes reach the disk only
// at Close, or when too many are pending.
func Open(cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, log: cfg.Logger,
		kick: make(chan struct{}, 1), dirty: make(chan struct{}, 1), closing: make(chan struct{}),
		snapshots: map[*snapshot]struct{}{},
	}
	s.roomy.L = &s.mu
	s.harm.found = make(chan struct{})
	s.hub.init()
	start := time.Now()
	d, err := openDisk(&s.cfg)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.adopt(d)
	if s.metrics, err = newMetrics(s, cfg.Registerer); err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), s.db.Close())
	}
	s.log.Info("store is open", "path", cfg.Path, "revision", s.revision, "compacted", s.compacted,
		"applied", s.applied.Index, "keys", s.index.live, "seconds", time.Since(start).Seconds())
	return s, nil
}

// adopt makes what was read from a file the state of the store.
func (s *Store) adopt(d *disk) {
	s.db, s.index, s.state, s.chains = d.db, d.index, d.state, d.chains
	s.conflicts, s.requests, s.system, s.garbage = d.conflicts, d.requests, d.system, d.garbage
	s.originIDs, s.buckets = d.originIDs, d.buckets
	s.leases, s.records, s.keep = d.leases, d.records, keptFrom(d.state)
	s.origins.Store(&d.origins)
	s.revision, s.compacted, s.applied, s.digest = d.revision, d.compacted, d.applied, d.digest
	s.active, s.flushing = newBuffer(0), nil
	for _, c := range s.chains {
		if c.trim {
			s.active.chains[c.origin] = c // goes on with the next flush
		}
	}
	durable := d.applied
	s.durable.Store(&durable)
	s.measure()
	s.publishLocked()
}

func (s *Store) publishLocked() {
	s.status.Store(&status{
		revision: s.revision, compacted: s.compacted, applied: s.applied, digest: s.digest,
		keys: s.index.live, graves: s.index.buried,
	})
}

// Run flushes in the background until ctx ends or the store fails or is killed. At the end of ctx it
// flushes what is left.
func (s *Store) Run(ctx context.Context) error {
	s.mu.Lock()
	s.running++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running--
		s.roomy.Broadcast() // who waits for room must flush for itself now
		s.mu.Unlock()
	}()
	scrubbing, stopScrubbing := context.WithCancel(ctx)
	var scrubs sync.WaitGroup
	scrubs.Go(func() { s.scrubs(scrubbing) })
	defer scrubs.Wait()
	defer stopScrubbing()
	due := time.NewTimer(s.cfg.FlushInterval) // what was there before, and then from each first change on
	defer due.Stop()
	forget := time.NewTicker(forgetInterval)
	defer forget.Stop()
	for {
		select {
		case <-ctx.Done():
			_, err := s.flush()
			return runError(err)
		case <-s.closing:
			return nil
		case <-s.harm.found:
			return s.harm.error()
		case <-s.dirty:
			due.Reset(s.cfg.FlushInterval)
			continue
		case <-forget.C: // and look whether a reader has let go of what is to be dropped
			s.forgetPages()
		case <-due.C:
		case <-s.kick:
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = s.flush(); err != nil {
				return runError(err)
			}
		}
	}
}

// forgetInterval is how long pages that readers touched may count as the process's memory. Mapping them
// again costs a page fault each, without a read from disk.
const forgetInterval = 10 * time.Second

// forgetBytes is how much of the file may be read in one go before its pages are given back.
const forgetBytes = 16 << 20

func (s *Store) forgetPages() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.closed {
		forgetPages(s.db, s.size.Load())
	}
}

func runError(err error) error {
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// Flush writes what is pending and returns when it is on disk.
func (s *Store) Flush() error {
	_, err := s.flush()
	return err
}

// Kill ends the store as a crash would: nothing more reaches the disk. Run returns; Close is still needed.
func (s *Store) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killed = true
	s.stopLocked()
}

func (s *Store) stopLocked() {
	select {
	case <-s.closing:
	default:
		close(s.closing)
	}
	s.roomy.Broadcast()
}

// Close flushes what is pending, unless the store was killed or is broken, and closes the file. Open
// snapshots fail; watchers end with [ErrClosed].
func (s *Store) Close() error {
	s.flushMu.Lock()
	s.rewrite.cancel()
	s.flushMu.Unlock()
	_, err := s.flush()
	if errors.Is(err, ErrClosed) || errors.Is(err, ErrBroken) {
		err = nil // nothing that Close could do, and reported where it happened
	}
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.stopLocked()
	s.rewrite.cancel()
	open := s.takeSnapshotsLocked()
	s.mu.Unlock()
	for _, o := range open {
		o.stop(ErrClosed)
	}
	s.hub.close()
	s.metrics.close()
	// Waits for the readers that are under way; they are short, and no more can begin.
	if s.locked.Load() {
		return err // the end of the process closes the file
	}
	err = errors.Join(err, s.db.Close())
	s.retired.Wait()
	return err
}

// writableLocked is the reason why nothing may be written, if there is one.
func (s *Store) writableLocked() error {
	switch {
	case s.closed || s.killed:
		return ErrClosed
	case s.err != nil:
		return s.err
	}
	return s.harm.error()
}

// readableLocked is the reason why nothing may be read, if there is one.
func (s *Store) readableLocked() error {
	switch {
	case s.closed:
		return ErrClosed
	case s.aborted:
		return s.err
	}
	return nil
}

// failLocked makes the store take no more writes.
func (s *Store) failLocked(err error) {
	if s.err == nil {
		s.err = fmt.Errorf("%w: %w", ErrBroken, err)
		s.log.Error("store takes no more writes", "path", s.cfg.Path, "error", err)
	}
	s.roomy.Broadcast()
}

// Revision is the current revision: 1 for an empty store.
func (s *Store) Revision() int64 { return s.status.Load().revision }

// Compacted is the revision below which history is gone; 0 when nothing was compacted.
func (s *Store) Compacted() int64 { return s.status.Load().compacted }

// Applied is the place in the Raft log that the state in memory includes.
func (s *Store) Applied() Applied { return s.status.Load().applied }

// Durable is the place in the Raft log that the file includes: replay begins behind it.
func (s *Store) Durable() Applied { return *s.durable.Load() }

// Digest is a sum over the live keys. It is equal for equal data, whatever the order of the writes was and
// whatever revisions they took here.
func (s *Store) Digest() uint64 { return s.status.Load().digest }

// Keys is the number of live keys.
func (s *Store) Keys() int { return s.status.Load().keys }

// DBSize is the size of the file in bytes.
func (s *Store) DBSize() int64 { return s.size.Load() }

// InUse is the part of DBSize that is not free for reuse.
func (s *Store) InUse() int64 { return s.size.Load() - s.free.Load() }

// Meta returns a small named value, nil when there is none. It must not be changed.
func (s *Store) Meta(name string) []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state[name]
}

// Changed is closed at the next Commit; take it before reading the state.
func (s *Store) Changed() <-chan struct{} {
	s.changedMu.Lock()
	defer s.changedMu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

func (s *Store) fireChanged() {
	s.changedMu.Lock()
	defer s.changedMu.Unlock()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}
