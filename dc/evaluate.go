package dc

import (
	"bytes"
	"cmp"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
)

// view is a consistent state to read from: the store at one revision, or a batch that is being applied.
type view interface {
	Range(store.RangeOptions) (store.RangeResult, error)
}

// rangeOver answers a RangeRequest from v as etcd does: the limit counts after filters and sort, count is
// the number of keys before both.
func rangeOver(v view, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	filtered := r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
	order := r.SortOrder
	if order == pb.RangeRequest_NONE && r.SortTarget != pb.RangeRequest_KEY {
		order = pb.RangeRequest_ASCEND
	}
	sorted := order == pb.RangeRequest_DESCEND || (order == pb.RangeRequest_ASCEND && r.SortTarget != pb.RangeRequest_KEY)
	opts := store.RangeOptions{
		Key: r.Key, End: r.RangeEnd, Revision: max(r.Revision, 0), CountOnly: r.CountOnly,
		KeysOnly: r.KeysOnly && r.SortTarget != pb.RangeRequest_VALUE,
	}
	// As in etcd: without an order the limit is of the first keys, even when what they are sorted by is named.
	if r.Limit > 0 && !filtered && (!sorted || r.SortOrder == pb.RangeRequest_NONE) {
		opts.Limit = r.Limit + 1 // one more tells whether there are more
	}
	res, err := v.Range(opts)
	if err != nil {
		return nil, err
	}
	kvs := res.KVs
	if filtered {
		kvs = slices.DeleteFunc(kvs, func(kv *mvccpb.KeyValue) bool { return !passes(kv, r) })
	}
	if sorted {
		sortKVs(kvs, r.SortTarget, order)
	}
	resp := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: res.Revision}, Count: res.Count}
	if r.CountOnly {
		return resp, nil
	}
	if r.Limit > 0 && int64(len(kvs)) > r.Limit {
		kvs = kvs[:r.Limit]
		resp.More = true
	}
	if r.KeysOnly {
		for _, kv := range kvs {
			kv.Value = nil
		}
		if r.SortTarget != pb.RangeRequest_VALUE {
			withoutValues(kvs)
		}
	}
	resp.Kvs = kvs
	return resp, nil
}

// withoutValues makes keys look as etcd 3.7 shows them when asked for keys only: it reads them from its index,
// which does not know the lease.
func withoutValues(kvs []*mvccpb.KeyValue) {
	for _, kv := range kvs {
		kv.Value, kv.Lease = nil, 0
	}
}

func passes(kv *mvccpb.KeyValue, r *pb.RangeRequest) bool {
	return (r.MinModRevision == 0 || kv.ModRevision >= r.MinModRevision) &&
		(r.MaxModRevision == 0 || kv.ModRevision <= r.MaxModRevision) &&
		(r.MinCreateRevision == 0 || kv.CreateRevision >= r.MinCreateRevision) &&
		(r.MaxCreateRevision == 0 || kv.CreateRevision <= r.MaxCreateRevision)
}

func sortKVs(kvs []*mvccpb.KeyValue, target pb.RangeRequest_SortTarget, order pb.RangeRequest_SortOrder) {
	compare := func(a, b *mvccpb.KeyValue) int {
		switch target {
		case pb.RangeRequest_VERSION:
			return cmp.Compare(a.Version, b.Version)
		case pb.RangeRequest_CREATE:
			return cmp.Compare(a.CreateRevision, b.CreateRevision)
		case pb.RangeRequest_MOD:
			return cmp.Compare(a.ModRevision, b.ModRevision)
		case pb.RangeRequest_VALUE:
			return bytes.Compare(a.Value, b.Value)
		default:
			return bytes.Compare(a.Key, b.Key)
		}
	}
	slices.SortStableFunc(kvs, func(a, b *mvccpb.KeyValue) int {
		if order == pb.RangeRequest_DESCEND {
			return compare(b, a)
		}
		return compare(a, b)
	})
}

// keyed is a view of the newest state, of which a single key is found without a range.
type keyed interface {
	Head(key []byte) (store.Head, bool)
	Get(key []byte) (*store.Version, error)
}

// holdsNow is holds for one key.
func holdsNow(v keyed, c *pb.Compare) (bool, error) {
	var kv mvccpb.KeyValue
	h, known := v.Head(c.Key)
	known = known && h.Live
	if known {
		kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease = h.Create, h.Mod, h.Version, h.Lease
	}
	if c.Target != pb.Compare_VALUE {
		return holdsFor(&kv, c), nil
	}
	if !known {
		return false, nil
	}
	now, err := v.Get(c.Key)
	if err != nil {
		return false, err
	}
	kv.Value = now.Value
	return holdsFor(&kv, c), nil
}

// holds evaluates one comparison of a Txn. A missing key has version, revisions and lease 0 and no value:
// a comparison of its value is false. A comparison over a range holds when it does for every key in it.
func holds(v view, c *pb.Compare) (bool, error) {
	if k, ok := v.(keyed); ok && len(c.RangeEnd) == 0 {
		return holdsNow(k, c)
	}
	res, err := v.Range(store.RangeOptions{Key: c.Key, End: c.RangeEnd, KeysOnly: c.Target != pb.Compare_VALUE})
	if err != nil {
		return false, err
	}
	if len(res.KVs) == 0 {
		return c.Target != pb.Compare_VALUE && holdsFor(&mvccpb.KeyValue{}, c), nil
	}
	for _, kv := range res.KVs {
		if !holdsFor(kv, c) {
			return false, nil
		}
	}
	return true, nil
}

func holdsFor(kv *mvccpb.KeyValue, c *pb.Compare) bool {
	var order int
	switch c.Target {
	case pb.Compare_VALUE:
		order = bytes.Compare(kv.Value, c.GetValue())
	case pb.Compare_CREATE:
		order = cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
	case pb.Compare_MOD:
		order = cmp.Compare(kv.ModRevision, c.GetModRevision())
	case pb.Compare_VERSION:
		order = cmp.Compare(kv.Version, c.GetVersion())
	case pb.Compare_LEASE:
		order = cmp.Compare(kv.Lease, c.GetLease())
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return order == 0
	case pb.Compare_NOT_EQUAL:
		return order != 0
	case pb.Compare_GREATER:
		return order > 0
	case pb.Compare_LESS:
		return order < 0
	}
	return true
}

// plan is a Txn with its comparisons decided: the operations that will run, nested ones resolved.
type plan struct {
	succeeded bool
	ops       []*pb.RequestOp
	nested    []*plan // beside ops, nil where the operation is not a Txn; or nil when none is
}

// inner is the plan of an operation that is a Txn, else nil.
func (p *plan) inner(i int) *plan {
	if p.nested == nil {
		return nil
	}
	return p.nested[i]
}

// decide evaluates all comparisons, nested ones of the taken branches included, on the state before the Txn.
func decide(v view, t *pb.TxnRequest) (*plan, error) {
	p := &plan{succeeded: true}
	for _, c := range t.Compare {
		ok, err := holds(v, c)
		if err != nil {
			return nil, err
		}
		if !ok {
			p.succeeded = false
			break
		}
	}
	p.ops = t.Failure
	if p.succeeded {
		p.ops = t.Success
	}
	for i, op := range p.ops {
		if inner := op.GetRequestTxn(); inner != nil {
			if p.nested == nil {
				p.nested = make([]*plan, len(p.ops))
			}
			var err error
			if p.nested[i], err = decide(v, inner); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

// ReadOnly says whether no branch of a Txn can write.
func ReadOnly(t *pb.TxnRequest) bool {
	for _, branch := range [][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range branch {
			if op.GetRequestPut() != nil || op.GetRequestDeleteRange() != nil {
				return false
			}
			if inner := op.GetRequestTxn(); inner != nil && !ReadOnly(inner) {
				return false
			}
		}
	}
	return true
}

// checkRange refuses a range inside a Txn as etcd does: there a negative revision is no way to say "now", but
// older than whatever was compacted.
func checkRange(r *pb.RangeRequest, revision, compacted int64) error {
	switch {
	case r.Revision > revision:
		return store.ErrFutureRev
	case r.Revision != 0 && compacted > 0 && r.Revision < compacted:
		return store.ErrCompacted
	}
	return nil
}

// checkReads is checkRange for all that a plan reads.
func (p *plan) checkReads(revision, compacted int64) error {
	for i, op := range p.ops {
		if inner := p.inner(i); inner != nil {
			if err := inner.checkReads(revision, compacted); err != nil {
				return err
			}
		} else if r := op.GetRequestRange(); r != nil {
			if err := checkRange(r, revision, compacted); err != nil {
				return err
			}
		}
	}
	return nil
}

// readPlan runs a plan without writes on v.
func readPlan(v view, p *plan) (*pb.TxnResponse, error) {
	resp := &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: p.succeeded}
	for i, op := range p.ops {
		switch {
		case p.inner(i) != nil:
			inner, err := readPlan(v, p.inner(i))
			if err != nil {
				return nil, err
			}
			resp.Responses = append(resp.Responses, &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: inner}})
		default:
			rr, err := rangeOver(v, op.GetRequestRange())
			if err != nil {
				return nil, err
			}
			resp.Responses = append(resp.Responses, &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: rr}})
		}
	}
	return resp, nil
}
