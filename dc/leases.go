package dc

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"geogate/dc/lease"
	"geogate/dc/store"
)

// leases is the datacenter's leases: the table that the log gives, and while this node leads, their time.
//
// The time is the process's own monotonic clock and never [Config.Now]: a wall clock may jump.
type leases struct {
	log     *slog.Logger
	metrics *metrics
	grace   time.Duration // see lease.NewSchedule
	every   time.Duration // between checkpoints
	news    chan struct{} // capacity 1: there is something to count that was not there before

	// mu guards what follows. Only the apply goroutine replaces or changes these, under mu; it alone may read them
	// without. Of the schedule it may read only whether there is one.
	mu       sync.RWMutex
	table    *lease.Table
	schedule *lease.Schedule // nil unless this node leads
	term     uint64          // in which it does
}

func newLeases(cfg *Config, m *metrics) *leases {
	return &leases{
		log: cfg.Logger, metrics: m, grace: cfg.electionTimeout(), every: cfg.LeaseCheckpointInterval, table: lease.NewTable(),
		news: make(chan struct{}, 1),
	}
}

// load reads the table from the store.
func (l *leases) load(s *store.Store) error {
	t := lease.NewTable()
	err := s.EachLease(func(id int64, record []byte) error {
		x, err := lease.Unmarshal(record)
		if err == nil && x.ID != id {
			err = fmt.Errorf("%w: record is of lease %d", lease.ErrMalformed, x.ID)
		}
		if err == nil {
			err = t.Grant(x)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("leases: %w: the store is damaged", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.table = t
	l.metrics.leases.Set(float64(t.Len()))
	return nil
}

// lead starts the count of time when this node begins to lead, and ends it when it no longer does.
func (l *leases) lead(term uint64, leading bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !leading {
		l.schedule = nil
		return
	}
	l.schedule, l.term = lease.NewSchedule(l.table, time.Now(), l.grace, l.every), term
	l.tell()
	if n := l.table.Len(); n > 0 {
		l.log.Info("this node counts the time of leases from now on", "leases", n, "term", term, "grace", l.grace)
	}
}

// The following are called by the apply goroutine.

// applied ends the count when an entry of a later term is applied: another node leads, even before that is told.
func (l *leases) applied(term uint64) {
	if l.schedule != nil && term > l.term {
		l.lead(term, false)
	}
}

func (l *leases) grant(x lease.Lease) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.table.Grant(x); err != nil {
		return err
	}
	if l.schedule != nil {
		l.schedule.Grant(x, time.Now())
		l.tell()
	}
	l.metrics.leases.Set(float64(l.table.Len()))
	return nil
}

func (l *leases) revoke(id int64, granted uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.table.Revoke(id, granted) {
		return false
	}
	if l.schedule != nil {
		l.schedule.Drop(id)
	}
	l.metrics.leases.Set(float64(l.table.Len()))
	return true
}

func (l *leases) checkpoint(c lease.Lease) (lease.Lease, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x, ok := l.table.Checkpoint(c)
	if ok && l.schedule != nil {
		l.schedule.Checkpointed(x)
	}
	return x, ok
}

// tell wakes the lessor, which sleeps while there is nothing to count.
func (l *leases) tell() {
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// The following are called from anywhere.

func (l *leases) len() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.table.Len()
}

func (l *leases) ids() []int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.table.IDs()
}

// left is the lease and what remains of it; false when there is none. [ErrNotLeader] unless this node counts.
func (l *leases) left(id int64) (x lease.Lease, d time.Duration, ok bool, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.schedule == nil {
		return x, 0, false, ErrNotLeader
	}
	if x, ok = l.table.Get(id); ok {
		d, ok = l.schedule.Left(id, time.Now())
	}
	return x, d, ok, nil
}

// renew gives leases all of their time again, if this node has led since the term that the caller saw. TTLs
// are those of ids, 0 for a lease that is not there or over. held are those with a checkpoint in the log, which
// must go first; they are not renewed.
func (l *leases) renew(term uint64, ids []int64) (ttls []int64, held []lease.Lease, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.schedule == nil || l.term != term {
		return nil, nil, ErrNotLeader
	}
	now := time.Now()
	ttls = make([]int64, len(ids))
	for i, id := range ids {
		if ttl, ok := l.schedule.Renew(id, now); ok {
			ttls[i] = ttl
			continue
		}
		if x, ok := l.schedule.Alive(id, now); ok {
			held = append(held, x)
		}
	}
	return ttls, held, nil
}

// scheduled says whether this node leads and there are leases, which is when some may be due.
func (l *leases) scheduled() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.schedule != nil && l.table.Len() > 0
}

// due is what the leader has to propose now.
func (l *leases) due(most int) (expired, checkpoints []lease.Lease, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.schedule == nil {
		return nil, nil, false
	}
	return l.schedule.Due(time.Now(), most)
}

func (l *leases) retry(x lease.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.schedule != nil {
		l.schedule.Retry(x)
	}
}
