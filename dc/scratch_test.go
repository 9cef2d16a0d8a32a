package dc

import (
	"fmt"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication/event"
)

// TestEntriesShareNoMemoryThatSomebodyKeeps applies entries of transactions of different sizes, one after another and in
// the same memory, and looks at the end at what became of each: its frame, its answer, its data.
func TestEntriesShareNoMemoryThatSomebodyKeeps(t *testing.T) {
	r := newReplica(t, "a", "b")
	const entries, txns = 20, 30
	var want []string // changes in their order
	var waiting []*pending
	for e := range entries {
		for i := range txns {
			req := &pb.TxnRequest{}
			for op := range (e*7 + i*3) % 41 { // more than there is room for, now and then
				key, value := fmt.Sprintf("key-%d-%d", i, op), fmt.Sprintf("value-%d-%d-%d", e, i, op)
				req.Success = append(req.Success, opPut(key, value))
				want = append(want, key+"="+value)
			}
			waiting = append(waiting, r.enqueue(kindTxn, req))
		}
		r.commitQueued()
	}
	frames, err := r.Frames("a", 0, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range frames {
		f, _, err := event.Open(frames[i].Bytes)
		if err != nil {
			t.Fatal(err)
		}
		for _, txn := range f.Txns {
			for _, op := range txn.Ops {
				got = append(got, string(op.Key)+"="+string(op.Value))
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("frames have %d changes, want %d, and not the same", len(got), len(want))
	}
	for n, p := range waiting {
		res := <-p.done
		if e, i := n/txns, n%txns; len(txnOf(t, res).Responses) != (e*7+i*3)%41 {
			t.Errorf("transaction %d of entry %d was answered %v", i, e, res.response)
		}
	}
	last := map[string]string{}
	for _, kv := range want {
		var key, value string
		if i := slices.Index([]byte(kv), '='); i > 0 {
			key, value = kv[:i], kv[i+1:]
		}
		last[key] = value
	}
	for key, value := range last {
		if got, _ := r.get(key); got != value {
			t.Errorf("%s is %q, want %q", key, got, value)
		}
	}
}

// TestScratchOfALargeEntryGoesWithIt: what one entry needed must not stay for good.
func TestScratchOfALargeEntryGoesWithIt(t *testing.T) {
	r := newReplica(t, "a", "b")
	for i := range maxScratch + 1 {
		r.enqueue(kindPut, putRequest(fmt.Sprint(i), "v"))
	}
	r.commitQueued()
	s := &r.scratch
	for name, n := range map[string]int{"items": cap(s.entry.items), "results": cap(s.results), "txns": cap(s.txns), "ops": cap(s.ops)} {
		if n > maxScratch {
			t.Errorf("room for %d %s is kept", n, name)
		}
	}
	r.put("k", "v")
	if s.entry.items[:1][0].payload != nil || s.txns[:1][0].Ops != nil || s.ops[:1][0].Key != nil || s.results[:1][0].response != nil {
		t.Error("the entry's bytes are kept")
	}
}
