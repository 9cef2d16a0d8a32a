package dc

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// DecodeTxn reads an encoded TxnRequest. Where it is of what this build knows, keys and values are slices of b, and its
// parts share memory: proto.Unmarshal makes a dozen pieces of a transaction with one comparison and one put.
func DecodeTxn(b []byte) (*pb.TxnRequest, error) {
	if r, ok := decodePlainTxn(b); ok {
		return r, nil
	}
	r := &pb.TxnRequest{}
	if err := proto.Unmarshal(b, r); err != nil {
		return nil, err // as it is: clients of etcd get it so
	}
	return r, nil
}

const (
	txnFieldCompare = 1
	txnFieldSuccess = 2
	txnFieldFailure = 3

	opFieldRange  = 1
	opFieldPut    = 2
	opFieldDelete = 3
	opFieldTxn    = 4
)

// comparison is a Compare with what it compares with.
type comparison struct {
	compare pb.Compare
	version pb.Compare_Version
	create  pb.Compare_CreateRevision
	mod     pb.Compare_ModRevision
	value   pb.Compare_Value
	lease   pb.Compare_Lease
}

// operation is a RequestOp of a put; others are made by protobuf.
type operation struct {
	op  pb.RequestOp
	of  pb.RequestOp_RequestPut
	put pb.PutRequest
}

// plainTxn is the memory of a transaction.
type plainTxn struct {
	request  *pb.TxnRequest
	compares []comparison
	ops      []operation
	all      []*pb.RequestOp
}

// smallTxn is that of one with a comparison and an operation at most, which most are, in one piece.
type smallTxn struct {
	request  pb.TxnRequest
	compares [1]comparison
	compare  [1]*pb.Compare
	ops      [1]operation
	all      [1]*pb.RequestOp
}

func newPlainTxn(compares, ops int) plainTxn {
	if compares <= 1 && ops <= 1 {
		t := new(smallTxn)
		if compares > 0 {
			t.request.Compare = t.compare[:0]
		}
		return plainTxn{request: &t.request, compares: t.compares[:compares], ops: t.ops[:ops], all: t.all[:ops]}
	}
	r := &pb.TxnRequest{}
	if compares > 0 {
		r.Compare = make([]*pb.Compare, 0, compares)
	}
	return plainTxn{request: r, compares: make([]comparison, compares), ops: make([]operation, ops), all: make([]*pb.RequestOp, ops)}
}

// decodePlainTxn is false for what is malformed, or has fields that are unknown or repeated.
func decodePlainTxn(b []byte) (*pb.TxnRequest, bool) {
	var count [txnFieldFailure + 1]int
	for rest := b; len(rest) > 0; {
		num, typ, n := protowire.ConsumeField(rest)
		if n < 0 || typ != protowire.BytesType || num < txnFieldCompare || num > txnFieldFailure {
			return nil, false
		}
		count[num]++
		rest = rest[n:]
	}
	t := newPlainTxn(count[txnFieldCompare], count[txnFieldSuccess]+count[txnFieldFailure])
	r, compares, ops, all := t.request, t.compares, t.ops, t.all
	success, failure := all[:0:count[txnFieldSuccess]], all[count[txnFieldSuccess]:count[txnFieldSuccess]]
	for i := 0; len(b) > 0; {
		num, _, n := protowire.ConsumeTag(b)
		raw, m := protowire.ConsumeBytes(b[n:])
		b = b[n+m:]
		if num == txnFieldCompare {
			c := &compares[len(r.Compare)]
			if !c.decode(raw) {
				return nil, false
			}
			r.Compare = append(r.Compare, &c.compare)
			continue
		}
		o := &ops[i]
		i++
		if !o.decode(raw) {
			return nil, false
		}
		if num == txnFieldSuccess {
			success = append(success, &o.op)
		} else {
			failure = append(failure, &o.op)
		}
	}
	if len(success) > 0 {
		r.Success = success
	}
	if len(failure) > 0 {
		r.Failure = failure
	}
	return r, true
}

func (c *comparison) decode(b []byte) bool {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		var v uint64
		var raw []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			raw, n = protowire.ConsumeBytes(b)
		default:
			return false
		}
		if n < 0 || !c.field(num, typ, v, raw) {
			return false
		}
		b = b[n:]
	}
	return true
}

// field takes one; false when it is none that is known.
func (c *comparison) field(num protowire.Number, typ protowire.Type, v uint64, raw []byte) bool {
	number := typ == protowire.VarintType
	switch {
	case num == 1 && number:
		c.compare.Result = pb.Compare_CompareResult(v)
	case num == 2 && number:
		c.compare.Target = pb.Compare_CompareTarget(v)
	case num == 3 && !number:
		c.compare.Key = raw
	case num == 4 && number:
		c.version.Version = int64(v)
		c.compare.TargetUnion = &c.version
	case num == 5 && number:
		c.create.CreateRevision = int64(v)
		c.compare.TargetUnion = &c.create
	case num == 6 && number:
		c.mod.ModRevision = int64(v)
		c.compare.TargetUnion = &c.mod
	case num == 7 && !number:
		c.value.Value = raw
		c.compare.TargetUnion = &c.value
	case num == 8 && number:
		c.lease.Lease = int64(v)
		c.compare.TargetUnion = &c.lease
	case num == 64 && !number:
		c.compare.RangeEnd = raw
	default:
		return false
	}
	return true
}

func (o *operation) decode(b []byte) bool {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 || typ != protowire.BytesType {
		return false
	}
	raw, m := protowire.ConsumeBytes(b[n:])
	if m < 0 || n+m != len(b) { // of two, protobuf merges some
		return false
	}
	switch num {
	case opFieldPut:
		p, err := decodePut(raw)
		if err != nil {
			return false
		}
		o.put.Key, o.put.Value, o.put.Lease = p.key, p.value, p.lease
		o.put.PrevKv, o.put.IgnoreValue, o.put.IgnoreLease = p.prevKv, p.ignoreValue, p.ignoreLease
		o.of.RequestPut = &o.put
		o.op.Request = &o.of
		return true
	case opFieldRange, opFieldDelete, opFieldTxn:
		return proto.Unmarshal(b, &o.op) == nil
	}
	return false
}
