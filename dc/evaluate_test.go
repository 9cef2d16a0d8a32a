package dc

import (
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
)

func opPut(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: putRequest(key, value)}}
}

func opDelete(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func opGet(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}
}

func opTxn(t *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
}

func valueIs(key, value string) *pb.Compare {
	return &pb.Compare{Key: []byte(key), Target: pb.Compare_VALUE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Value{Value: []byte(value)}}
}

func versionIs(key string, v int64) *pb.Compare {
	return &pb.Compare{Key: []byte(key), Target: pb.Compare_VERSION, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Version{Version: v}}
}

func txnOf(t *testing.T, res result) *pb.TxnResponse {
	t.Helper()
	if res.err != nil {
		t.Fatal(res.err)
	}
	return res.response.(*pb.TxnResponse)
}

func TestFirstWriteIsRevisionTwoAndATxnTakesOne(t *testing.T) {
	r := newReplica(t, "a")
	if r.Revision() != 1 {
		t.Fatalf("an empty datacenter is at revision %d", r.Revision())
	}
	if c := r.put("k", "v"); c.Revision != 2 {
		t.Errorf("first write took revision %d", c.Revision)
	}
	res := r.do(kindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{opPut("x", "1"), opPut("y", "2"), opDelete("k", "")}})
	resp := txnOf(t, res)
	if res.commit.Revision != 3 || resp.Header.Revision != 3 || r.Revision() != 3 {
		t.Errorf("a txn of three changes took revision %d, header %d, store %d", res.commit.Revision, resp.Header.Revision, r.Revision())
	}
	if n := resp.Responses[2].GetResponseDeleteRange().Deleted; n != 1 {
		t.Errorf("deleted %d keys", n)
	}
}

func TestAWriteThatChangesNothingTakesNoRevision(t *testing.T) {
	r := newReplica(t, "a")
	r.put("k", "v")
	if c := r.del("absent"); c.Revision != 0 || r.Revision() != 2 {
		t.Errorf("deleting nothing: commit %d, revision %d", c.Revision, r.Revision())
	}
	res := r.do(kindTxn, &pb.TxnRequest{Compare: []*pb.Compare{valueIs("k", "other")}, Success: []*pb.RequestOp{opPut("k", "w")}})
	if resp := txnOf(t, res); resp.Succeeded || res.commit.Revision != 0 || resp.Header.Revision != 2 {
		t.Errorf("a txn whose comparison failed: %+v, commit %d", resp, res.commit.Revision)
	}
	if frames, err := r.Frames("a", 0, 1<<20); err != nil || len(frames) != 1 {
		t.Errorf("%d frames for one change, %v", len(frames), err)
	}
}

func TestComparisonsSeeTheStateBeforeAndRangesTheTxnItself(t *testing.T) {
	r := newReplica(t, "a")
	r.put("k", "old")
	inner := &pb.TxnRequest{Compare: []*pb.Compare{valueIs("k", "old")}, Success: []*pb.RequestOp{opPut("inner", "old was seen")}}
	resp := txnOf(t, r.do(kindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{opPut("k", "new"), opGet("k"), opTxn(inner)}}))
	if v := string(resp.Responses[1].GetResponseRange().Kvs[0].Value); v != "new" {
		t.Errorf("a range behind the put saw %q", v)
	}
	if !resp.Responses[2].GetResponseTxn().Succeeded {
		t.Error("the nested comparison saw the txn's own put")
	}
}

func TestComparisonsOfAMissingKey(t *testing.T) {
	r := newReplica(t, "a")
	for name, c := range map[string]struct {
		compare *pb.Compare
		want    bool
	}{
		"version 0": {versionIs("absent", 0), true},
		"version 1": {versionIs("absent", 1), false},
		"value":     {valueIs("absent", ""), false},
		"create":    {&pb.Compare{Key: []byte("absent"), Target: pb.Compare_CREATE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_CreateRevision{}}, true},
		"lease":     {&pb.Compare{Key: []byte("absent"), Target: pb.Compare_LEASE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Lease{}}, true},
	} {
		resp := txnOf(t, r.do(kindTxn, &pb.TxnRequest{Compare: []*pb.Compare{c.compare}}))
		if resp.Succeeded != c.want {
			t.Errorf("%s: %v", name, resp.Succeeded)
		}
	}
}

func TestATxnThatCantRunChangesNothing(t *testing.T) {
	r := newReplica(t, "a")
	r.put("k", "v")
	ignoring := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("absent"), IgnoreValue: true}}}
	res := r.do(kindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{opPut("k", "w"), ignoring}})
	if !errors.Is(res.err, ErrKeyNotFound) {
		t.Fatalf("got %v", res.err)
	}
	future := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("k"), Revision: 99}}}
	if res = r.do(kindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{opPut("k", "w"), future}}); !errors.Is(res.err, store.ErrFutureRev) {
		t.Fatalf("got %v", res.err)
	}
	leased := &pb.PutRequest{Key: []byte("k"), Lease: 7}
	if res = r.do(kindPut, leased); !errors.Is(res.err, ErrLeaseNotFound) {
		t.Fatalf("got %v", res.err)
	}
	if v, _ := r.get("k"); v != "v" || r.Revision() != 2 {
		t.Errorf("k is %q at revision %d", v, r.Revision())
	}
}

func TestIgnoreValueKeepsIt(t *testing.T) {
	r := newReplica(t, "a")
	r.put("k", "v")
	res := r.do(kindPut, &pb.PutRequest{Key: []byte("k"), IgnoreValue: true, PrevKv: true})
	if res.err != nil {
		t.Fatal(res.err)
	}
	if p := res.response.(*pb.PutResponse); string(p.PrevKv.Value) != "v" || p.PrevKv.ModRevision != 2 || p.Header.Revision != 3 {
		t.Errorf("%+v", p)
	}
	if v, _ := r.get("k"); v != "v" {
		t.Errorf("value is %q", v)
	}
}

func TestRangeLimitCountSortAndFilters(t *testing.T) {
	r := newReplica(t, "a")
	for _, kv := range [][2]string{{"a", "3"}, {"b", "1"}, {"c", "2"}, {"d", "0"}} {
		r.put(kv[0], kv[1])
	}
	r.put("a", "3") // version 2, revision 6
	all := func(edit func(*pb.RangeRequest)) *pb.RangeResponse {
		t.Helper()
		req := &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte{0}}
		edit(req)
		resp, err := rangeOver(r.store, req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	keys := func(resp *pb.RangeResponse) (s string) {
		for _, kv := range resp.Kvs {
			s += string(kv.Key)
		}
		return s
	}
	for name, c := range map[string]struct {
		edit func(*pb.RangeRequest)
		want string
		more bool
	}{
		"all":                 {func(*pb.RangeRequest) {}, "abcd", false},
		"limit":               {func(q *pb.RangeRequest) { q.Limit = 2 }, "ab", true},
		"limit of all":        {func(q *pb.RangeRequest) { q.Limit = 4 }, "abcd", false},
		"descending":          {func(q *pb.RangeRequest) { q.SortOrder = pb.RangeRequest_DESCEND; q.Limit = 2 }, "dc", true},
		"by value":            {func(q *pb.RangeRequest) { q.SortTarget = pb.RangeRequest_VALUE }, "dbca", false},
		"by value, keys only": {func(q *pb.RangeRequest) { q.SortTarget = pb.RangeRequest_VALUE; q.KeysOnly = true }, "dbca", false},
		"by mod, newest first": {func(q *pb.RangeRequest) {
			q.SortTarget = pb.RangeRequest_MOD
			q.SortOrder = pb.RangeRequest_DESCEND
			q.Limit = 1
		}, "a", true},
		"modified since 4": {func(q *pb.RangeRequest) { q.MinModRevision = 4; q.Limit = 2 }, "ac", true},
		"created until 3":  {func(q *pb.RangeRequest) { q.MaxCreateRevision = 3 }, "ab", false},
	} {
		resp := all(c.edit)
		if keys(resp) != c.want || resp.More != c.more || resp.Count != 4 || resp.Header.Revision != 6 {
			t.Errorf("%s: keys %q more %v count %d revision %d", name, keys(resp), resp.More, resp.Count, resp.Header.Revision)
		}
	}
	if resp := all(func(q *pb.RangeRequest) { q.Revision = 3 }); keys(resp) != "ab" || resp.Header.Revision != 6 {
		t.Errorf("at revision 3: %q, header %d", keys(resp), resp.Header.Revision)
	}
	if resp := all(func(q *pb.RangeRequest) { q.CountOnly = true }); resp.Count != 4 || len(resp.Kvs) != 0 {
		t.Errorf("count only: %+v", resp)
	}
	if _, err := rangeOver(r.store, &pb.RangeRequest{Key: []byte("a"), Revision: 7}); !errors.Is(err, store.ErrFutureRev) {
		t.Errorf("future revision: %v", err)
	}
	if res := r.do(kindCompact, &pb.CompactionRequest{Revision: 4}); res.err != nil {
		t.Fatal(res.err)
	}
	if _, err := rangeOver(r.store, &pb.RangeRequest{Key: []byte("a"), Revision: 3}); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("compacted revision: %v", err)
	}
	if res := r.do(kindCompact, &pb.CompactionRequest{Revision: 4}); !errors.Is(res.err, store.ErrCompacted) {
		t.Errorf("compacting again: %v", res.err)
	}
	if res := r.do(kindCompact, &pb.CompactionRequest{Revision: 40}); !errors.Is(res.err, store.ErrFutureRev) {
		t.Errorf("compacting the future: %v", res.err)
	}
}

// oneKey is a state of one key with a lease.
type oneKey struct{}

func (oneKey) Range(store.RangeOptions) (store.RangeResult, error) {
	kv := &mvccpb.KeyValue{Key: []byte("k"), Value: []byte("v"), Lease: 7, CreateRevision: 2, ModRevision: 3, Version: 2}
	return store.RangeResult{KVs: []*mvccpb.KeyValue{kv}, Count: 1, Revision: 3}, nil
}

// As etcd 3.7: keys are told without lease, unless they had to be read for a sort by value.
func TestKeysOnlyHasNoLease(t *testing.T) {
	for req, want := range map[*pb.RangeRequest]int64{
		{Key: []byte("k")}:                 7,
		{Key: []byte("k"), KeysOnly: true}: 0,
		{Key: []byte("k"), KeysOnly: true, SortTarget: pb.RangeRequest_VALUE}: 7,
		{Key: []byte("k"), KeysOnly: true, SortTarget: pb.RangeRequest_MOD}:   0,
	} {
		r, err := rangeOver(oneKey{}, req)
		if err != nil || r.Kvs[0].Lease != want || req.KeysOnly != (r.Kvs[0].Value == nil) {
			t.Errorf("%v: %v, %v; want lease %d", req, r, err, want)
		}
	}
}
