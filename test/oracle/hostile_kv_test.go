package oracle

import (
	"bytes"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const kvPath = "/etcdserverpb.KV/"

func key(n int) []byte { return bytes.Repeat([]byte("k"), n) }

func hostileKV() (out []hostile) {
	put := func(name string, r *pb.PutRequest) {
		out = append(out, hostile{name: "put: " + name, method: kvPath + "Put", send: r})
	}
	put("nothing", &pb.PutRequest{})
	put("no key", &pb.PutRequest{Value: []byte("v")})
	put("a value to ignore", &pb.PutRequest{Key: []byte("k"), Value: []byte("v"), IgnoreValue: true})
	put("a lease to ignore", &pb.PutRequest{Key: []byte("k"), Lease: 1, IgnoreLease: true})
	put("everything to ignore", &pb.PutRequest{Key: []byte("k"), Value: []byte("v"), Lease: 1, IgnoreLease: true, IgnoreValue: true})
	put("keep the value of no key", &pb.PutRequest{Key: []byte("none"), IgnoreValue: true})
	put("keep the lease of no key", &pb.PutRequest{Key: []byte("none"), Value: []byte("v"), IgnoreLease: true})
	put("a lease that is not there", &pb.PutRequest{Key: []byte("k"), Lease: 77})
	put("a negative lease", &pb.PutRequest{Key: []byte("k"), Lease: -1})
	put("the least lease", &pb.PutRequest{Key: []byte("k"), Lease: math.MinInt64, IgnoreValue: true})
	put("a key of 1 MiB", &pb.PutRequest{Key: key(1 << 20)})
	put("a key over the limit", &pb.PutRequest{Key: key(1536<<10 + 1)})
	put("a value over the limit", &pb.PutRequest{Key: []byte("k"), Value: key(1536<<10 + 1)})
	put("a message over grpc's limit", &pb.PutRequest{Key: []byte("k"), Value: key(3 << 20)})
	put("a key of zeros", &pb.PutRequest{Key: make([]byte, 300)})

	for name, r := range map[string]*pb.RangeRequest{
		"nothing":                     {},
		"a negative limit":            {Key: []byte("a"), RangeEnd: []byte("z"), Limit: -1},
		"the least limit":             {Key: []byte("a"), RangeEnd: []byte("z"), Limit: math.MinInt64},
		"the greatest limit":          {Key: []byte("a"), RangeEnd: []byte("z"), Limit: math.MaxInt64},
		"the greatest limit, sorted":  {Key: []byte("a"), RangeEnd: []byte("z"), Limit: math.MaxInt64, SortOrder: 2},
		"a negative revision":         {Key: []byte("a"), Revision: -1},
		"the least revision":          {Key: []byte("a"), Revision: math.MinInt64},
		"a future revision":           {Key: []byte("a"), Revision: 1 << 40},
		"the greatest revision":       {Key: []byte("a"), Revision: math.MaxInt64},
		"a future one, serializable":  {Key: []byte("a"), Revision: 1 << 40, Serializable: true},
		"an order that is none":       {Key: []byte("a"), SortOrder: 99},
		"a negative order":            {Key: []byte("a"), SortOrder: -1},
		"a target that is none":       {Key: []byte("a"), SortTarget: 99},
		"a negative target":           {Key: []byte("a"), SortTarget: math.MinInt32},
		"an inverted range":           {Key: []byte("z"), RangeEnd: []byte("a")},
		"an empty range":              {Key: []byte("z"), RangeEnd: []byte("z")},
		"an end without key":          {RangeEnd: []byte("z")},
		"inverted filters":            {Key: []byte("a"), RangeEnd: []byte{0}, MinModRevision: 9, MaxModRevision: 1},
		"negative filters":            {Key: []byte("a"), RangeEnd: []byte{0}, MinModRevision: -9, MaxCreateRevision: math.MinInt64},
		"everything at once":          {Key: []byte{0}, RangeEnd: []byte{0}, CountOnly: true, KeysOnly: true, SortOrder: 2, SortTarget: 4, Limit: 1},
		"a key larger than a request": {Key: key(1 << 20), RangeEnd: key(512 << 10)},
	} {
		out = append(out,
			hostile{name: "range: " + name, method: kvPath + "Range", send: r},
			hostile{name: "range stream: " + name, method: kvPath + "RangeStream", send: r, stream: true})
	}

	for name, r := range map[string]*pb.DeleteRangeRequest{
		"nothing":            {},
		"no key":             {RangeEnd: []byte("z")},
		"an inverted range":  {Key: []byte("z"), RangeEnd: []byte("a"), PrevKv: true},
		"a key of 1.5 MiB":   {Key: key(1536<<10 + 1)},
		"nothing that is":    {Key: []byte("none")},
		"a range of nothing": {Key: []byte("z"), RangeEnd: []byte("z")},
	} {
		out = append(out, hostile{name: "delete: " + name, method: kvPath + "DeleteRange", send: r})
	}
	for name, rev := range map[string]int64{
		"negative": -1, "the least": math.MinInt64, "a future one": 1 << 40, "the greatest": math.MaxInt64,
	} {
		out = append(out, hostile{name: "compact: " + name, method: kvPath + "Compact", send: &pb.CompactionRequest{Revision: rev}})
	}
	for _, n := range []int{32 << 10, 32<<10 + 1, 1 << 20} {
		out = append(out, hostile{name: "put: a key of " + itoa(n), method: kvPath + "Put", send: &pb.PutRequest{Key: key(n)}},
			hostile{name: "delete: a key of " + itoa(n), method: kvPath + "DeleteRange", send: &pb.DeleteRangeRequest{Key: key(n)}})
	}
	compacted := rpctypes.ErrGRPCCompacted.(interface{ GRPCStatus() *status.Status }).GRPCStatus()
	return append(out,
		hostile{name: "compact: 0", method: kvPath + "Compact", send: &pb.CompactionRequest{}, differ: &answer{compacted.Code(), compacted.Message()},
			why: "etcd counts what it has compacted from -1 on, so that the first such request does nothing successfully"},
		hostile{name: "compact: 0 again", method: kvPath + "Compact", send: &pb.CompactionRequest{Physical: true}},
		hostile{name: "compact: 1", method: kvPath + "Compact", send: &pb.CompactionRequest{Revision: 1}},
		hostile{name: "compact: 1 again", method: kvPath + "Compact", send: &pb.CompactionRequest{Revision: 1}})
}

func putOp(k string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(k)}}}
}

func deleteOp(k, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(k), RangeEnd: []byte(end)},
	}}
}

func rangeOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func txnOp(t *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
}

func many[T any](n int, one func(i int) T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = one(i)
	}
	return out
}

// deep nests so many transactions around an operation.
func deep(n int, inner *pb.RequestOp) *pb.TxnRequest {
	t := &pb.TxnRequest{Success: []*pb.RequestOp{inner}}
	for range n {
		t = &pb.TxnRequest{Success: []*pb.RequestOp{txnOp(t)}}
	}
	return t
}

// deepBytes is deep as bytes, built from the inside: what makes messages refuses to go so far down.
func deepBytes(n int) []byte {
	lengthened := func(tag byte, b []byte) []byte {
		size := len(b)
		head := []byte{tag}
		for ; size >= 0x80; size >>= 7 {
			head = append(head, byte(size)|0x80)
		}
		return append(append(head, byte(size)), b...)
	}
	b, _ := proto.Marshal(putOp("deep"))
	for range n {
		b = lengthened(4<<3|2, lengthened(2<<3|2, b)) // RequestOp.request_txn, TxnRequest.success
	}
	return lengthened(2<<3|2, b)
}

func hostileTxns() (out []hostile) {
	txn := func(name string, r any) {
		out = append(out, hostile{name: "txn: " + name, method: kvPath + "Txn", send: r})
	}
	compare := func(i int) *pb.Compare { return &pb.Compare{Key: []byte{byte(i + 1)}} }
	puts := func(i int) *pb.RequestOp { return putOp(string(rune('A' + i))) }
	txn("nothing", &pb.TxnRequest{})
	txn("129 compares", &pb.TxnRequest{Compare: many(129, compare)})
	txn("129 puts", &pb.TxnRequest{Success: many(129, puts)})
	txn("129 puts, otherwise", &pb.TxnRequest{Failure: many(129, puts)})
	txn("128 of each", &pb.TxnRequest{Compare: many(128, compare), Success: many(128, puts), Failure: many(128, puts)})
	txn("127 and one nested", &pb.TxnRequest{Success: append(many(127, puts), txnOp(&pb.TxnRequest{Success: []*pb.RequestOp{putOp("n")}}))})
	txn("128 nested, empty", &pb.TxnRequest{Success: many(128, func(int) *pb.RequestOp { return txnOp(&pb.TxnRequest{}) })})
	txn("128 of which one nests a put", &pb.TxnRequest{Success: append(many(127, puts), txnOp(deep(1, putOp("n"))))})
	for _, n := range []int{2, 64, 126, 127, 128, 1000} {
		txn(itoa(n)+" deep", deep(n, putOp("deep")))
		txn(itoa(n)+" deep, a read", deep(n, rangeOp(&pb.RangeRequest{Key: []byte("deep")})))
	}
	txn("4000 deep", deepBytes(4000))
	txn("12000 deep", deepBytes(12000))
	txn("100000 deep", deepBytes(100000))
	txn("an empty operation", &pb.TxnRequest{Success: []*pb.RequestOp{{}}})
	txn("an empty operation, otherwise", &pb.TxnRequest{Failure: []*pb.RequestOp{{}}})
	txn("an empty nested operation", &pb.TxnRequest{Success: []*pb.RequestOp{txnOp(&pb.TxnRequest{Failure: []*pb.RequestOp{{}}})}})
	txn("a put of nothing", &pb.TxnRequest{Success: []*pb.RequestOp{putOp("")}})
	txn("a delete of nothing", &pb.TxnRequest{Success: []*pb.RequestOp{deleteOp("", "z")}})
	txn("a range of nothing", &pb.TxnRequest{Success: []*pb.RequestOp{rangeOp(&pb.RangeRequest{})}})
	txn("the same put twice", &pb.TxnRequest{Success: []*pb.RequestOp{putOp("a"), putOp("a")}})
	txn("a put and its delete", &pb.TxnRequest{Success: []*pb.RequestOp{putOp("a"), deleteOp("a", "")}})
	txn("a put and a delete from a key on", &pb.TxnRequest{Success: []*pb.RequestOp{putOp("b"), deleteOp("a", "\x00")}})
	txn("a put and an inverted delete", &pb.TxnRequest{Success: []*pb.RequestOp{putOp("b"), deleteOp("z", "a")}})
	txn("an inverted delete and a nested put", &pb.TxnRequest{Success: []*pb.RequestOp{deleteOp("z", "a"), txnOp(&pb.TxnRequest{Success: []*pb.RequestOp{putOp("b")}})}})
	txn("the same put in two nested ones", &pb.TxnRequest{Success: []*pb.RequestOp{txnOp(deep(0, putOp("a"))), txnOp(deep(0, putOp("a")))}})
	txn("the same put, nested and not", &pb.TxnRequest{Success: []*pb.RequestOp{putOp("a"), txnOp(deep(3, putOp("a")))}})
	txn("a compare without key", &pb.TxnRequest{Compare: []*pb.Compare{{}}})
	txn("a nested compare without key", &pb.TxnRequest{Failure: []*pb.RequestOp{txnOp(&pb.TxnRequest{Compare: []*pb.Compare{{RangeEnd: []byte("z")}}})}})
	for _, n := range []int32{-1, 4, 99, math.MaxInt32} {
		txn("a result of "+itoa(int(n)), &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("a"), Result: pb.Compare_CompareResult(n)}}})
		txn("a target of "+itoa(int(n)), &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("a"), Target: pb.Compare_CompareTarget(n)}}})
		txn("a sorted range, order "+itoa(int(n)), deep(0, rangeOp(&pb.RangeRequest{Key: []byte("a"), SortOrder: pb.RangeRequest_SortOrder(n)})))
	}
	txn("a value that is compared with a version", &pb.TxnRequest{Compare: []*pb.Compare{{
		Key: []byte("a"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Version{Version: 3},
	}}})
	txn("an inverted range is compared", &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("z"), RangeEnd: []byte("a"), Target: pb.Compare_MOD}}})
	for _, rev := range []int64{-1, math.MinInt64, 1 << 40, math.MaxInt64} {
		txn("a range at "+itoa(int(rev)), deep(0, rangeOp(&pb.RangeRequest{Key: []byte("a"), Revision: rev})))
		txn("a put and a range at "+itoa(int(rev)), &pb.TxnRequest{Success: []*pb.RequestOp{putOp("p"), rangeOp(&pb.RangeRequest{Key: []byte("a"), Revision: rev})}})
	}
	for name, p := range map[string]*pb.PutRequest{
		"a lease that is not there":       {Key: []byte("l"), Lease: 78},
		"a lease that is to be ignored":   {Key: []byte("l"), Lease: 78, IgnoreLease: true},
		"a value that is to be ignored":   {Key: []byte("l"), Value: []byte("v"), IgnoreValue: true},
		"the value of a key that is none": {Key: []byte("none"), IgnoreValue: true},
	} {
		op := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p}}
		txn("a put of "+name, deep(0, op))
		txn("a nested put of "+name, deep(4, op))
		txn("a put, not taken, of "+name, &pb.TxnRequest{Failure: []*pb.RequestOp{op}})
	}
	return append(out, hostile{name: "txn: too large", method: kvPath + "Txn", send: &pb.TxnRequest{
		Success: many(2, func(i int) *pb.RequestOp {
			return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte{byte(i + 1)}, Value: key(800 << 10)}}}
		}),
	}})
}
