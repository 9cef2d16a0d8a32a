package importer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// leaseTick is how often due leases are looked for.
const leaseTick = 250 * time.Millisecond

// leases are those of the source that have keys here, under the same ids. While an import runs they live here as
// long as they live there: applications still renew them at the source.
type leases struct {
	from, to *clientv3.Client
	log      *slog.Logger
	lost     chan struct{} // receives when one ended here too early

	mu   sync.Mutex
	held map[int64]*lease // guarded by mu
	made int              // guarded by mu
}

type lease struct {
	ttl time.Duration
	due time.Time // of the next renewal
}

func newLeases(from, to *clientv3.Client, log *slog.Logger) *leases {
	return &leases{from: from, to: to, log: log, lost: make(chan struct{}, 1), held: map[int64]*lease{}}
}

// ensure makes a lease of the source exist here; false when it ended there.
func (l *leases) ensure(ctx context.Context, id int64) (bool, error) {
	l.mu.Lock()
	_, ok := l.held[id]
	l.mu.Unlock()
	if ok {
		return true, nil
	}
	there, err := l.from.TimeToLive(ctx, clientv3.LeaseID(id))
	if err != nil {
		return false, fmt.Errorf("lease %x at the source: %w", id, err)
	}
	if there.TTL <= 0 {
		return false, nil
	}
	_, err = pb.NewLeaseClient(l.to.ActiveConnection()).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: there.GrantedTTL})
	if err = rpctypes.Error(err); err != nil && !errors.Is(err, rpctypes.ErrLeaseExist) {
		return false, fmt.Errorf("lease %x at the destination: %w", id, err)
	}
	ttl := time.Duration(there.GrantedTTL) * time.Second
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.made++
	}
	l.held[id] = &lease{ttl: ttl, due: time.Now()} // one that was there already may be about to end
	return true, nil
}

// forget makes ensure look again at the leases of these changes.
func (l *leases) forget(changes []change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range changes {
		delete(l.held, changes[i].lease)
	}
}

// run renews until ctx ends.
func (l *leases) run(ctx context.Context) {
	tick := time.NewTicker(leaseTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for id, x := range l.dueAt(now) {
				l.renew(ctx, id, x)
			}
		}
	}
}

func (l *leases) dueAt(now time.Time) map[int64]*lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[int64]*lease{}
	for id, x := range l.held {
		if !x.due.After(now) {
			out[id] = x
			x.due = now.Add(x.ttl / 3)
		}
	}
	return out
}

func (l *leases) renew(ctx context.Context, id int64, x *lease) {
	ctx, cancel := context.WithTimeout(ctx, max(x.ttl/3, time.Second))
	defer cancel()
	there, err := l.from.TimeToLive(ctx, clientv3.LeaseID(id))
	if err == nil && there.TTL <= 0 {
		l.drop(id) // its end here comes with the deletes of its keys, or by itself
		return
	}
	if err == nil {
		_, err = l.to.KeepAliveOnce(ctx, clientv3.LeaseID(id))
	}
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		l.drop(id)
		l.log.Warn("a lease ended at the destination and not at the source; its keys are copied again", "lease", fmt.Sprintf("%x", id))
		select {
		case l.lost <- struct{}{}:
		default:
		}
	case err != nil && ctx.Err() == nil:
		l.log.Warn("a lease could not be renewed", "lease", fmt.Sprintf("%x", id), "error", err)
	}
}

func (l *leases) drop(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, id)
}

// renewAll gives all leases their full time, for applications to move in.
func (l *leases) renewAll(ctx context.Context) {
	l.mu.Lock()
	held := maps.Clone(l.held)
	l.mu.Unlock()
	for id, x := range held {
		l.renew(ctx, id, x)
	}
}

func (l *leases) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.made
}
