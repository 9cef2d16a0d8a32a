package gateway

import (
	"bytes"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/pkg/v3/adt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// No key may be put twice, or put and deleted, on one path through a transaction. The two branches of a nested
// transaction exclude each other and may put the same key. What is refused is exactly what etcd refuses: it
// overlooks a delete from a key on (end "\x00"), and a nested put before another nested transaction's delete.

// smallTxn is up to how many flat operations are compared pair by pair, without any allocation. Above, and
// for nested ones, sets and an interval tree keep the work near linear.
const smallTxn = 16

func checkOverlap(ops []*pb.RequestOp) error {
	if flat, ok := overlapFlat(ops); ok {
		if flat {
			return rpctypes.ErrGRPCDuplicateKey
		}
		return nil
	}
	_, err := effectsOf(ops)
	return err
}

// overlapFlat compares pairs; ok is false when the list is long or holds a transaction.
func overlapFlat(ops []*pb.RequestOp) (overlap, ok bool) {
	if len(ops) > smallTxn {
		return false, false
	}
	for _, op := range ops {
		if op.GetRequestTxn() != nil {
			return false, false
		}
	}
	for i, op := range ops {
		put := op.GetRequestPut()
		if put == nil {
			continue
		}
		for j, other := range ops {
			if p := other.GetRequestPut(); p != nil && j < i && bytes.Equal(p.Key, put.Key) {
				return true, true
			}
			if d := other.GetRequestDeleteRange(); d != nil && deletes(d, put.Key) {
				return true, true
			}
		}
	}
	return false, true
}

// deletes says whether the delete covers the key, as etcd's check sees it.
func deletes(d *pb.DeleteRangeRequest, key []byte) bool {
	if len(d.RangeEnd) == 0 {
		return bytes.Equal(key, d.Key)
	}
	return bytes.Compare(key, d.Key) >= 0 && bytes.Compare(key, d.RangeEnd) < 0
}

// effects are the keys that a list of operations may put and the ranges that it may delete.
type effects struct {
	puts    map[string]struct{}
	deletes adt.IntervalTree
}

func (e *effects) deleted(key string) bool {
	return e.deletes.Intersects(adt.NewStringAffinePoint(key))
}

func effectsOf(ops []*pb.RequestOp) (*effects, error) {
	e := &effects{puts: map[string]struct{}{}, deletes: adt.NewIntervalTree()}
	for _, op := range ops {
		d := op.GetRequestDeleteRange()
		if d == nil {
			continue
		}
		if iv, ok := interval(d); ok {
			e.deletes.Insert(iv, struct{}{})
		}
	}
	for _, op := range ops {
		if t := op.GetRequestTxn(); t != nil {
			if err := e.addTxn(t); err != nil {
				return nil, err
			}
		}
	}
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			if err := e.addPut(string(p.Key), nil); err != nil {
				return nil, err
			}
		}
	}
	return e, nil
}

// addTxn adds both branches of a nested transaction.
func (e *effects) addTxn(t *pb.TxnRequest) error {
	success, err := effectsOf(t.GetSuccess())
	if err != nil {
		return err
	}
	failure, err := effectsOf(t.GetFailure())
	if err != nil {
		return err
	}
	for key := range success.puts {
		if err := e.addPut(key, nil); err != nil {
			return err
		}
	}
	for key := range failure.puts {
		if err := e.addPut(key, success.puts); err != nil {
			return err
		}
	}
	whole := adt.NewStringAffineInterval("\x00", "")
	e.deletes.Union(success.deletes, whole)
	e.deletes.Union(failure.deletes, whole)
	return nil
}

// addPut adds a key; it may be there already when it is in exclusive.
func (e *effects) addPut(key string, exclusive map[string]struct{}) error {
	_, there := e.puts[key]
	_, fine := exclusive[key]
	if there && !fine || e.deleted(key) {
		return rpctypes.ErrGRPCDuplicateKey
	}
	e.puts[key] = struct{}{}
	return nil
}

// interval is what a delete covers; ok is false when that is nothing.
func interval(d *pb.DeleteRangeRequest) (iv adt.Interval, ok bool) {
	if len(d.RangeEnd) == 0 {
		return adt.NewStringAffinePoint(string(d.Key)), true
	}
	return adt.NewStringAffineInterval(string(d.Key), string(d.RangeEnd)), bytes.Compare(d.Key, d.RangeEnd) < 0
}
