package importer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

const (
	pauseMin = 50 * time.Millisecond
	pauseMax = 2 * time.Second
)

// change is what happens to one key at the destination.
type change struct {
	key     string
	value   []byte
	lease   int64
	deleted bool
}

func (c *change) size() int { return len(c.key) + len(c.value) }

// batch gathers changes for one transaction. No key may be in it twice.
type batch struct {
	changes []change
	keys    map[string]bool
	bytes   int
}

func (b *batch) add(c change) {
	if b.keys == nil {
		b.keys = map[string]bool{}
	}
	b.changes = append(b.changes, c)
	b.keys[c.key] = true
	b.bytes += c.size()
}

func (b *batch) reset() { *b = batch{changes: b.changes[:0]} }

// takes says whether the changes, which belong together, may join those that wait.
func (r *run) takes(together []change) bool {
	if len(r.waiting.changes)+len(together) > r.TxnOps {
		return false
	}
	size := r.waiting.bytes
	for i := range together {
		size += together[i].size()
		if r.waiting.keys[together[i].key] {
			return false
		}
	}
	return size <= r.TxnBytes || len(r.waiting.changes) == 0
}

// write queues changes that belong together; it is atomic as far as they fit into a transaction.
func (r *run) write(ctx context.Context, together ...change) error {
	if !r.takes(together) {
		if err := r.flush(ctx); err != nil {
			return err
		}
	}
	if len(together) > r.TxnOps {
		r.result.SplitRevisions++
	}
	for len(together) > 0 {
		n := min(len(together), r.TxnOps-len(r.waiting.changes))
		for _, c := range together[:n] {
			r.waiting.add(c)
		}
		if together = together[n:]; len(together) > 0 {
			if err := r.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush makes what waits durable. It may be sent more than once: nobody else writes these keys, so a
// repetition changes nothing.
func (r *run) flush(ctx context.Context) error {
	if len(r.waiting.changes) == 0 {
		return nil
	}
	err := r.patiently(ctx, "write to the destination", func() error {
		var ops []clientv3.Op
		for i := range r.waiting.changes {
			op, err := r.op(ctx, &r.waiting.changes[i])
			if err != nil {
				return err
			}
			ops = append(ops, op)
		}
		_, err := r.To.Txn(r.tagged(ctx)).Then(ops...).Commit()
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			r.leases.forget(r.waiting.changes)
		}
		return err
	})
	if err != nil {
		return err
	}
	r.result.Written += int64(len(r.waiting.changes))
	r.waiting.reset()
	return nil
}

func (r *run) op(ctx context.Context, c *change) (clientv3.Op, error) {
	if c.deleted {
		return clientv3.OpDelete(c.key), nil
	}
	if c.lease == 0 {
		return clientv3.OpPut(c.key, string(c.value)), nil
	}
	held, err := r.leases.ensure(ctx, c.lease)
	if err != nil {
		return clientv3.Op{}, err
	}
	if !held { // it ended at the source, whose delete of the key is on its way
		return clientv3.OpPut(c.key, string(c.value)), nil
	}
	return clientv3.OpPut(c.key, string(c.value), clientv3.WithLease(clientv3.LeaseID(c.lease))), nil
}

// patiently repeats what fails, until Patience is over. What can't get better is not repeated.
func (r *run) patiently(ctx context.Context, what string, do func() error) error {
	deadline := time.Now().Add(r.Patience)
	for pause := pauseMin; ; pause = min(2*pause, pauseMax) {
		err := do()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case hopeless(err):
			return fmt.Errorf("%s: %w", what, err)
		case time.Now().After(deadline):
			return fmt.Errorf("%s: no success within %s, the same command goes on from here: %w", what, r.Patience, err)
		}
		r.Logger.Warn("trying again", "what", what, "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func hopeless(err error) bool {
	for _, e := range []error{
		rpctypes.ErrRequestTooLarge, rpctypes.ErrTooManyOps, rpctypes.ErrPermissionDenied, rpctypes.ErrAuthFailed,
		rpctypes.ErrUserEmpty, rpctypes.ErrNoSpace, rpctypes.ErrDuplicateKey, rpctypes.ErrCompacted, ErrNotEmpty, ErrSelf,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// tagged asks for the import's policy.
func (r *run) tagged(ctx context.Context) context.Context {
	if r.Policy == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "geogate-policy", r.Policy)
}
