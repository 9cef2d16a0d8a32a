package dc

import (
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/lease"
	"geogate/dc/store"
	"geogate/replication/event"
)

// mutation evaluates one local write inside a batch and collects its effects for the frame.
type mutation struct {
	batch  *store.Batch
	origin string
	stamp  event.Stamp
	seen   []byte // encoded vector, shared by the entry's writes
	alarms alarms
	leases *lease.Table
	home   *event.Home // of the write's single-writer keyspace, nil for none; shared
	in     *register   // of the same

	alone     bool // the datacenter has no peers: nobody asks for the changes
	unwatched bool // nobody waits for the response here; that of a put is left out then

	revision int64 // of this write; 0 until it changes something
	ops      []event.Op
}

// putAnswer is a response and its header in one piece.
type putAnswer struct {
	response pb.PutResponse
	header   pb.ResponseHeader
}

func (m *mutation) geo() store.Geo {
	// The origin revision of a local write is the revision that its first change takes.
	revision := m.revision
	if revision == 0 {
		revision = m.batch.Revision() + 1
	}
	return store.Geo{Origin: m.origin, OriginRevision: revision, Stamp: m.stamp, Seen: m.seen}
}

// checkPut refuses what depends on the state, before anything of the write is applied.
func (m *mutation) checkPut(r *put) error {
	if r.lease != 0 {
		if _, ok := m.leases.Get(r.lease); !ok {
			return ErrLeaseNotFound
		}
	}
	if r.ignoreValue || r.ignoreLease {
		if h, ok := m.batch.Head(r.key); !ok || !h.Live {
			return ErrKeyNotFound
		}
	}
	return nil
}

// put returns nil when nobody waits for the response.
func (m *mutation) put(r *put) (*pb.PutResponse, error) {
	value, leaseID := r.value, r.lease
	var previous *mvccpb.KeyValue
	if r.prevKv && !m.unwatched || r.ignoreValue || r.ignoreLease {
		prev, err := m.batch.Get(r.key)
		if err != nil {
			return nil, err
		}
		if prev != nil {
			if r.ignoreValue {
				value = prev.Value
			}
			if r.ignoreLease {
				leaseID = m.kept(prev)
			}
			if r.prevKv {
				previous = prev.KeyValue()
			}
		}
	}
	m.revision = m.batch.Put(r.key, value, leaseID, m.geo())
	m.effect(event.Op{Kind: event.OpPut, Key: r.key, Value: value, Lease: leaseID})
	if m.unwatched {
		return nil, nil //nolint:nilnil // as said
	}
	answer := new(putAnswer)
	answer.header.Revision = m.revision
	answer.response.Header, answer.response.PrevKv = &answer.header, previous
	return &answer.response, nil
}

// effect notes a change for the frame.
func (m *mutation) effect(op event.Op) {
	if !m.alone {
		m.ops = append(m.ops, op)
	}
}

// kept is the lease of a put that keeps the key's: none when another DC wrote the key, because its leases are
// not ours, and one of ours may have the same id. In a single-writer keyspace they are the home's, as long as they last.
func (m *mutation) kept(prev *store.Version) int64 {
	if m.home != nil {
		if _, ok := m.leases.Get(prev.Lease); !ok {
			return 0
		}
		return prev.Lease
	}
	if prev.Geo.Origin != m.origin {
		return 0
	}
	return prev.Lease
}

// deleteRange returns nil when nobody waits for the response.
func (m *mutation) deleteRange(r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	shown := r.PrevKv && !m.unwatched
	if len(r.RangeEnd) == 0 && !shown {
		return m.deleteKey(r.Key), nil
	}
	res, err := m.batch.Range(store.RangeOptions{Key: r.Key, End: r.RangeEnd, KeysOnly: !shown})
	if err != nil {
		return nil, err
	}
	for _, kv := range res.KVs {
		m.delete(kv.Key)
	}
	resp := m.deleted(len(res.KVs))
	if shown {
		resp.PrevKvs = append([]*mvccpb.KeyValue(nil), res.KVs...)
	}
	return resp, nil
}

// deleteKey deletes one key, if it is live.
func (m *mutation) deleteKey(key []byte) *pb.DeleteRangeResponse {
	h, known := m.batch.Head(key)
	if !known || !h.Live {
		return m.deleted(0)
	}
	m.delete(key)
	return m.deleted(1)
}

func (m *mutation) deleted(keys int) *pb.DeleteRangeResponse {
	if m.unwatched {
		return nil
	}
	return &pb.DeleteRangeResponse{Header: &pb.ResponseHeader{Revision: m.batch.Revision()}, Deleted: int64(keys)}
}

// effects are the changes that go into the frame. A transaction may put a key and delete it again (etcd does
// not refuse every way to do so); elsewhere all its changes have one stamp, so only the last one of each key
// may leave.
func (m *mutation) effects() []event.Op {
	if !m.mixed() {
		return m.ops
	}
	last := make(map[string]int, len(m.ops))
	for i := range m.ops {
		last[string(m.ops[i].Key)] = i
	}
	if len(last) == len(m.ops) {
		return m.ops
	}
	kept := m.ops[:0]
	for i := range m.ops {
		if last[string(m.ops[i].Key)] == i {
			kept = append(kept, m.ops[i])
		}
	}
	return kept
}

// mixed says whether there are puts and deletes.
func (m *mutation) mixed() bool {
	for i := range m.ops {
		if m.ops[i].Kind != m.ops[0].Kind {
			return true
		}
	}
	return false
}

// delete removes a key that is live.
func (m *mutation) delete(key []byte) {
	m.revision = m.batch.Delete(key, m.geo())
	m.effect(event.Op{Kind: event.OpDelete, Key: key})
}

// txn decides every comparison first, refuses what can't run, and only then writes: all or nothing. It returns nil
// when nobody waits for the response.
func (m *mutation) txn(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	p, err := decide(m.batch, r)
	if err != nil {
		return nil, err
	}
	if err := m.checkPlan(p); err != nil {
		return nil, err
	}
	if m.unwatched {
		return nil, m.runUnwatched(p)
	}
	resp, err := m.run(p)
	if err != nil {
		return nil, err
	}
	resp.Header.Revision = m.batch.Revision()
	return resp, nil
}

// runUnwatched makes the changes of a plan. What it reads has been checked, and can be told to nobody.
func (m *mutation) runUnwatched(p *plan) error {
	for i, op := range p.ops {
		var err error
		switch {
		case p.inner(i) != nil:
			err = m.runUnwatched(p.inner(i))
		case op.GetRequestPut() != nil:
			r := putOf(op.GetRequestPut())
			_, err = m.put(&r)
		case op.GetRequestDeleteRange() != nil:
			_, err = m.deleteRange(op.GetRequestDeleteRange())
		}
		if err != nil {
			return fmt.Errorf("operation %d: %w", i, err)
		}
	}
	return nil
}

// txnAnswer is a response, its header and what it says of its first operation in one piece.
type txnAnswer struct {
	response  pb.TxnResponse
	header    pb.ResponseHeader
	responses [1]*pb.ResponseOp
	first     putOp
}

// putOp is what is said of a put in a Txn.
type putOp struct {
	op pb.ResponseOp
	of pb.ResponseOp_ResponsePut
}

// said is the answer of the i-th operation, which is a put.
func (a *txnAnswer) said(i int, r *pb.PutResponse) *pb.ResponseOp {
	o := &a.first
	if i > 0 {
		o = new(putOp)
	}
	o.of.ResponsePut, o.op.Response = r, &o.of
	return &o.op
}

func (m *mutation) checkPlan(p *plan) error {
	for i, op := range p.ops {
		switch {
		case p.inner(i) != nil:
			if err := m.checkPlan(p.inner(i)); err != nil {
				return err
			}
		case op.GetRequestPut() != nil:
			r := putOf(op.GetRequestPut())
			if err := m.checkPut(&r); err != nil {
				return err
			}
		case op.GetRequestRange() != nil:
			if err := checkRange(op.GetRequestRange(), m.batch.Revision(), m.batch.Compacted()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *mutation) run(p *plan) (*pb.TxnResponse, error) {
	answer := new(txnAnswer)
	resp := &answer.response
	resp.Header, resp.Succeeded = &answer.header, p.succeeded
	switch {
	case len(p.ops) == 1:
		resp.Responses = answer.responses[:0]
	case len(p.ops) > 1:
		resp.Responses = make([]*pb.ResponseOp, 0, len(p.ops))
	}
	for i, op := range p.ops {
		var out *pb.ResponseOp
		switch {
		case p.inner(i) != nil:
			inner, err := m.run(p.inner(i))
			if err != nil {
				return nil, err
			}
			out = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: inner}}
		case op.GetRequestPut() != nil:
			p := putOf(op.GetRequestPut())
			r, err := m.put(&p)
			if err != nil {
				return nil, fmt.Errorf("operation %d: %w", i, err)
			}
			out = answer.said(i, r)
		case op.GetRequestDeleteRange() != nil:
			r, err := m.deleteRange(op.GetRequestDeleteRange())
			if err != nil {
				return nil, fmt.Errorf("operation %d: %w", i, err)
			}
			out = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: r}}
		case op.GetRequestRange() != nil:
			r, err := rangeOver(m.batch, op.GetRequestRange())
			if err != nil {
				return nil, fmt.Errorf("operation %d: %w", i, err)
			}
			out = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: r}}
		default:
			out = &pb.ResponseOp{}
		}
		resp.Responses = append(resp.Responses, out)
	}
	return resp, nil
}
