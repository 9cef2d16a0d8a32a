package gateway

import (
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func opPutOf(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
}

func opDeleteOf(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)},
	}}
}

func opRangeOf(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}
}

func opTxnOf(success, failure []*pb.RequestOp) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: success, Failure: failure}}}
}

func ops(o ...*pb.RequestOp) []*pb.RequestOp { return o }

func puts(n int) []*pb.RequestOp {
	var out []*pb.RequestOp
	for i := range n {
		out = append(out, opPutOf(fmt.Sprint("k", i)))
	}
	return out
}

func TestCheckRange(t *testing.T) {
	key := []byte("a")
	for _, c := range []struct {
		name string
		req  *pb.RangeRequest
		want error
	}{
		{"empty key", &pb.RangeRequest{}, rpctypes.ErrGRPCEmptyKey},
		{"plain", &pb.RangeRequest{Key: key}, nil},
		{"order too high", &pb.RangeRequest{Key: key, SortOrder: 3}, rpctypes.ErrGRPCInvalidSortOption},
		{"order negative", &pb.RangeRequest{Key: key, SortOrder: -1}, rpctypes.ErrGRPCInvalidSortOption},
		{"target too high", &pb.RangeRequest{Key: key, SortTarget: 5}, rpctypes.ErrGRPCInvalidSortOption},
		{"last order and target", &pb.RangeRequest{Key: key, SortOrder: pb.RangeRequest_DESCEND, SortTarget: pb.RangeRequest_VALUE}, nil},
	} {
		if got := checkRange(c.req); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestCheckPut(t *testing.T) {
	key, v := []byte("a"), []byte("v")
	for _, c := range []struct {
		name string
		req  *pb.PutRequest
		want error
	}{
		{"empty key", &pb.PutRequest{Value: v}, rpctypes.ErrGRPCEmptyKey},
		{"plain", &pb.PutRequest{Key: key, Value: v, Lease: 1}, nil},
		{"ignored value given", &pb.PutRequest{Key: key, Value: v, IgnoreValue: true}, rpctypes.ErrGRPCValueProvided},
		{"ignored lease given", &pb.PutRequest{Key: key, Lease: 1, IgnoreLease: true}, rpctypes.ErrGRPCLeaseProvided},
		{"both ignored", &pb.PutRequest{Key: key, IgnoreLease: true, IgnoreValue: true}, nil},
	} {
		if got := checkPut(c.req); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestCheckTxn(t *testing.T) {
	long := &pb.TxnRequest{}
	for range 129 {
		long.Compare = append(long.Compare, &pb.Compare{Key: []byte("k")})
	}
	for _, c := range []struct {
		name string
		req  *pb.TxnRequest
		want error
	}{
		{"empty", &pb.TxnRequest{}, nil},
		{"128 puts", &pb.TxnRequest{Success: puts(128)}, nil},
		{"129 puts", &pb.TxnRequest{Success: puts(129)}, rpctypes.ErrGRPCTooManyOps},
		{"129 puts in else", &pb.TxnRequest{Failure: puts(129)}, rpctypes.ErrGRPCTooManyOps},
		{"129 compares", long, rpctypes.ErrGRPCTooManyOps},
		{"nested within what is left", &pb.TxnRequest{Success: ops(opTxnOf(puts(127), nil))}, nil},
		{"nested above what is left", &pb.TxnRequest{Success: ops(opTxnOf(puts(128), nil))}, rpctypes.ErrGRPCTooManyOps},
		{"compare without key", &pb.TxnRequest{Compare: []*pb.Compare{{}}}, rpctypes.ErrGRPCEmptyKey},
		{"put without key", &pb.TxnRequest{Success: ops(opPutOf(""))}, rpctypes.ErrGRPCEmptyKey},
		{"delete without key", &pb.TxnRequest{Failure: ops(opDeleteOf("", ""))}, rpctypes.ErrGRPCEmptyKey},
		{"range without key, nested", &pb.TxnRequest{Success: ops(opTxnOf(nil, ops(opRangeOf(""))))}, rpctypes.ErrGRPCEmptyKey},
		{"empty operation", &pb.TxnRequest{Success: ops(&pb.RequestOp{})}, rpctypes.ErrGRPCKeyNotFound},
		{"no operation", &pb.TxnRequest{Success: ops(nil)}, rpctypes.ErrGRPCKeyNotFound},
		{"duplicate put", &pb.TxnRequest{Success: ops(opPutOf("a"), opPutOf("a"))}, rpctypes.ErrGRPCDuplicateKey},
		{"the same key in both branches", &pb.TxnRequest{Success: ops(opPutOf("a")), Failure: ops(opPutOf("a"))}, nil},
	} {
		if got := checkTxn(c.req, 128); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestOverlap(t *testing.T) {
	dup := rpctypes.ErrGRPCDuplicateKey
	for _, c := range []struct {
		name string
		ops  []*pb.RequestOp
		want error
	}{
		{"none", nil, nil},
		{"different puts", ops(opPutOf("a"), opPutOf("b")), nil},
		{"same put", ops(opPutOf("a"), opPutOf("b"), opPutOf("a")), dup},
		{"put before its delete", ops(opPutOf("a"), opDeleteOf("a", "")), dup},
		{"put behind its delete", ops(opDeleteOf("a", ""), opPutOf("a")), dup},
		{"put at the start of a deleted range", ops(opDeleteOf("a", "c"), opPutOf("a")), dup},
		{"put inside a deleted range", ops(opPutOf("b"), opDeleteOf("a", "c")), dup},
		{"put at the end of a deleted range", ops(opDeleteOf("a", "c"), opPutOf("c")), nil},
		{"put behind a delete to the end, which etcd overlooks", ops(opDeleteOf("a", "\x00"), opPutOf("zz")), nil},
		{"put before a later nested delete, which etcd overlooks", ops(opTxnOf(ops(opPutOf("b")), nil), opTxnOf(ops(opDeleteOf("a", "c")), nil)), nil},
		{"put before a delete to the end", ops(opDeleteOf("b", "\x00"), opPutOf("a")), nil},
		{"inverted delete covers nothing", ops(opDeleteOf("c", "a"), opPutOf("b")), nil},
		{"overlapping deletes", ops(opDeleteOf("a", "c"), opDeleteOf("b", "d")), nil},
		{"range of a put key", ops(opPutOf("a"), opRangeOf("a")), nil},
		{"both branches of a nested one", ops(opTxnOf(ops(opPutOf("a")), ops(opPutOf("a")))), nil},
		{"nested and outer put", ops(opTxnOf(ops(opPutOf("a")), nil), opPutOf("a")), dup},
		{"nested put in outer delete", ops(opDeleteOf("a", "c"), opTxnOf(nil, ops(opPutOf("b")))), dup},
		{"outer put in nested delete", ops(opPutOf("b"), opTxnOf(nil, ops(opDeleteOf("a", "c")))), dup},
		{"two nested ones put the same", ops(opTxnOf(ops(opPutOf("a")), nil), opTxnOf(nil, ops(opPutOf("a")))), dup},
		{"put in an earlier nested delete", ops(opTxnOf(ops(opDeleteOf("a", "c")), nil), opTxnOf(ops(opPutOf("b")), nil)), dup},
		{"duplicate two levels down", ops(opTxnOf(ops(opTxnOf(ops(opPutOf("a"), opPutOf("a")), nil)), nil)), dup},
	} {
		if got := checkOverlap(c.ops); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		if flat, ok := overlapFlat(c.ops); ok { // the two ways must agree
			if _, err := effectsOf(c.ops); (err != nil) != flat {
				t.Errorf("%s: compared pair by pair %v, by intervals %v", c.name, flat, err)
			}
		}
	}
}

func TestCheckSize(t *testing.T) {
	for _, c := range []struct {
		value, limit int
		want         error
	}{
		{100, 1000, nil},
		{1000, 1000, rpctypes.ErrGRPCRequestTooLarge},
		{990, 1000, nil}, // the estimate is too high, the size itself is not
	} {
		r := &pb.PutRequest{Key: []byte("k"), Value: make([]byte, c.value)}
		if got := checkSize(r, c.limit); got != c.want {
			t.Errorf("value of %d bytes, limit %d: got %v, want %v", c.value, c.limit, got, c.want)
		}
		txn := &pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}})}
		if got := checkSize(txn, c.limit+8); got != c.want {
			t.Errorf("txn with a value of %d bytes: got %v, want %v", c.value, got, c.want)
		}
	}
}

func TestReadOnly(t *testing.T) {
	for _, c := range []struct {
		req  *pb.TxnRequest
		want bool
	}{
		{&pb.TxnRequest{}, true},
		{&pb.TxnRequest{Success: ops(opRangeOf("a"))}, true},
		{&pb.TxnRequest{Failure: ops(opPutOf("a"))}, false},
		{&pb.TxnRequest{Success: ops(opTxnOf(ops(opRangeOf("a")), nil))}, true},
		{&pb.TxnRequest{Success: ops(opTxnOf(nil, ops(opDeleteOf("a", ""))))}, false},
	} {
		if got := readOnly(c.req); got != c.want {
			t.Errorf("%v: got %v", c.req, got)
		}
	}
}
