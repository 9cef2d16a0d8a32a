package dc

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication/event"
)

// write evaluates a local write. Its stamp is the leader's clock, or just above everything applied so far
// when a peer's clock runs ahead: the write was ordered after it and must win over it everywhere.
func (a *applier) write(it *item, stamp event.Stamp, watched bool) (result, error) {
	a.batch.NextTxn()
	m := a.mutation(stamp)
	if it.keyspace != nil {
		r, err := a.writable(it.keyspace)
		if err != nil {
			a.dc.metrics.homes.refused.Inc()
			return result{err: err}, nil
		}
		m.home, m.in = r.home, r
		a.batch.KeepGraves(true)
	}
	m.unwatched = !watched
	resp, err := m.evaluate(it)
	if it.keyspace != nil {
		a.batch.KeepGraves(false)
	}
	if err != nil {
		if refused(err) {
			return result{err: err}, nil
		}
		return result{}, err
	}
	return result{response: resp, commit: a.committed(&m)}, nil
}

func (a *applier) mutation(stamp event.Stamp) mutation {
	return mutation{
		batch: a.batch, origin: a.dc.cfg.Name, seen: a.seen, leases: a.dc.leases.table, alarms: a.dc.state.alarms,
		stamp: max(stamp, a.dc.state.high+1), alone: a.entry.alone, ops: a.roomForOps(),
	}
}

// roomForOps is where the changes of the next write go: behind those of the writes before, in one piece of memory for
// many of them.
func (a *applier) roomForOps() []event.Op {
	if a.entry.alone {
		return nil
	}
	if len(a.ops) == cap(a.ops) {
		a.ops = make([]event.Op, 0, min(max(16, 2*cap(a.ops)), maxScratch)) // the frame has what was in the old one
	}
	return a.ops[len(a.ops):]
}

// keepOps counts the changes of a write as taken, unless they were more than there was room for: then they are
// elsewhere.
func (a *applier) keepOps(ops []event.Op) {
	if n := len(a.ops) + len(ops); n <= cap(a.ops) {
		a.ops = a.ops[:n]
	}
}

// committed puts what was changed, if anything, into the entry's frame.
func (a *applier) committed(m *mutation) Commit {
	if m.revision == 0 {
		return Commit{}
	}
	a.dc.state.high = m.stamp
	ops := m.effects()
	a.frame.Txns = append(a.frame.Txns, event.Txn{Revision: m.revision, Stamp: m.stamp, Ops: ops, Home: m.leaseTTLs()})
	a.keepOps(m.ops)
	c := Commit{Revision: m.revision, Stamp: m.stamp}
	if m.home != nil {
		c.Keyspace, c.Epoch = m.home.Keyspace, m.home.Epoch
		m.in.latest.Store(m.revision)
	}
	return c
}

func (m *mutation) evaluate(it *item) (proto.Message, error) {
	switch it.kind {
	case kindPut:
		r, err := decodePut(it.payload)
		if err != nil {
			return nil, err
		}
		if err := m.alarms.refusal(kindPut, nil); err != nil {
			return nil, err
		}
		if err := m.checkPut(&r); err != nil {
			return nil, err
		}
		return m.put(&r)
	case kindDelete:
		var r pb.DeleteRangeRequest
		if err := proto.Unmarshal(it.payload, &r); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if err := m.alarms.refusal(kindDelete, nil); err != nil {
			return nil, err
		}
		return m.deleteRange(&r)
	default:
		r, err := DecodeTxn(it.payload)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if err := m.alarms.refusal(kindTxn, func() bool { return canPut(r) }); err != nil {
			return nil, err
		}
		return m.txn(r)
	}
}

// refused tells an answer to the client from a failure of this replica.
func refused(err error) bool {
	if passing(err) {
		return true
	}
	for _, known := range refusals {
		if known != nil && errors.Is(err, known) {
			return true
		}
	}
	return false
}

// passing tells refusals that are not for good: a repetition of the request may be applied.
func passing(err error) bool {
	return errors.Is(err, ErrNoSpace) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNotHome)
}

func (a *applier) compact(payload []byte) (result, error) {
	var r pb.CompactionRequest
	if err := proto.Unmarshal(payload, &r); err != nil {
		return result{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := a.dc.state.alarms.refusal(kindCompact, nil); err != nil {
		return result{err: err}, nil
	}
	if err := a.batch.Compact(r.Revision); err != nil {
		if refused(err) {
			return result{err: err}, nil
		}
		return result{}, err
	}
	return result{response: &pb.CompactionResponse{Header: &pb.ResponseHeader{Revision: a.batch.Revision()}}}, nil
}
