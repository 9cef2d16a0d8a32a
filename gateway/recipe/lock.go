package recipe

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"geogate/gateway/lockpb"
)

// Locks is etcd's Lock service. Its errors are the client's, as they are in etcd.
type Locks struct {
	lockpb.UnsafeLockServer
	*Client
}

// Lock waits until the lock is the caller's and returns the key that is its ownership.
func (l Locks) Lock(ctx context.Context, req *lockpb.LockRequest) (*lockpb.LockResponse, error) {
	ctx, cancel := l.begin(ctx)
	defer cancel()
	s, err := l.session(ctx, req.Lease)
	if err != nil {
		return nil, err
	}
	m := concurrency.NewMutex(s, string(req.Name))
	if err := m.Lock(ctx); err != nil {
		return nil, err
	}
	return &lockpb.LockResponse{Header: m.Header(), Key: []byte(m.Key())}, nil
}

// Unlock ends an ownership.
func (l Locks) Unlock(ctx context.Context, req *lockpb.UnlockRequest) (*lockpb.UnlockResponse, error) {
	ctx, cancel := l.begin(ctx)
	defer cancel()
	resp, err := l.etcd.Delete(ctx, string(req.Key))
	if err != nil {
		return nil, err
	}
	return &lockpb.UnlockResponse{Header: resp.Header}, nil
}

// session is one over the caller's lease, which the caller keeps alive; without one it gets a lease of 60 s.
func (c *Client) session(ctx context.Context, lease int64) (*concurrency.Session, error) {
	session, err := concurrency.NewSession(c.etcd, concurrency.WithLease(clientv3.LeaseID(lease)), concurrency.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	session.Orphan()
	return session, nil
}
