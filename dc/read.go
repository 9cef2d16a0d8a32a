package dc

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
)

// Range answers from this node: linearizable in the DC (through ReadIndex) unless the request asks for
// serializable, which is what this node has applied.
func (d *DC) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if !r.Serializable {
		if err := d.Linearize(ctx); err != nil {
			return nil, err
		}
	}
	return rangeOver(d.store, r)
}

// ReadTxn answers a Txn for which [ReadOnly] holds, at one revision and without the log.
func (d *DC) ReadTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := d.Linearize(ctx); err != nil {
		return nil, err
	}
	return d.AppliedTxn(ctx, r)
}

// AppliedTxn is [DC.ReadTxn] from what this node has applied.
func (d *DC) AppliedTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	for {
		at := pinned{d.store, d.store.Revision()}
		resp, err := at.txn(r)
		if errors.Is(err, errPinLost) && ctx.Err() == nil {
			continue // compacted past the pinned revision meanwhile
		}
		return resp, err
	}
}

// Linearize returns once this node has applied everything that was committed in the DC before the call.
func (d *DC) Linearize(ctx context.Context) error {
	index, err := d.node.ReadIndex(ctx)
	if err != nil {
		return err
	}
	return d.node.WaitApplied(ctx, index)
}

// Watch opens a watch on this node's history.
func (d *DC) Watch(o store.WatchOptions) *store.Watcher { return d.store.Watch(o) }

var errPinLost = errors.New("pinned revision was compacted")

// pinned reads the store at one revision.
type pinned struct {
	store    *store.Store
	revision int64
}

// Range implements view. A request for a revision of its own keeps it.
func (p pinned) Range(o store.RangeOptions) (store.RangeResult, error) {
	own := o.Revision > 0
	if !own {
		o.Revision = p.revision
	}
	res, err := p.store.Range(o)
	if !own && errors.Is(err, store.ErrCompacted) {
		err = errPinLost
	}
	if own && o.Revision > p.revision {
		err = store.ErrFutureRev
	}
	return res, err
}

func (p pinned) txn(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	plan, err := decide(p, r)
	if err != nil {
		return nil, err
	}
	if err := plan.checkReads(p.revision, p.store.Compacted()); err != nil {
		return nil, err
	}
	resp, err := readPlan(p, plan)
	if err != nil {
		return nil, err
	}
	resp.Header.Revision = p.revision
	return resp, nil
}
