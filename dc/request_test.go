package dc

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/consensus"
	"geogate/dc/store"
	"geogate/replication/event"
)

// enqueueAs adds a request with an id without committing it.
func (r *replica) enqueueAs(id string, k kind, req proto.Message) *pending {
	r.t.Helper()
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		r.t.Fatal(err)
	}
	it, err := item{kind: k, payload: payload}.withID(id)
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := r.queue.add(it)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *replica) doAs(id string, k kind, req proto.Message) result {
	r.t.Helper()
	p := r.enqueueAs(id, k, req)
	r.commitQueued()
	return <-p.done
}

// remembered is what the table holds under an id.
func (r *replica) remembered(id string) string {
	r.t.Helper()
	b, err := r.store.Begin()
	if err != nil {
		r.t.Fatal(err)
	}
	raw, err := b.Request([]byte(id))
	if err != nil {
		b.Abort(err)
		r.t.Fatal(err)
	}
	b.Commit(r.store.Applied())
	return string(raw)
}

// state is everything that must not move when a request is only answered again.
func (r *replica) fingerprint() string {
	return fmt.Sprint(r.Revision(), r.store.Digest(), r.Position("a"), r.Position("b"), r.store.Requests())
}

func TestRepeatedRequestIsAppliedOnce(t *testing.T) {
	r := newReplica(t, "a", "b")
	r.put("k", "0")
	r.put("d1", "x")
	r.put("d2", "x")
	for _, c := range []struct {
		name string
		kind kind
		req  proto.Message
	}{
		{"put", kindPut, &pb.PutRequest{Key: []byte("k"), Value: []byte("1"), PrevKv: true}},
		{"delete", kindDelete, &pb.DeleteRangeRequest{Key: []byte("d"), RangeEnd: []byte("e"), PrevKv: true}},
		{"txn", kindTxn, &pb.TxnRequest{
			Compare: []*pb.Compare{valueIs("k", "1")},
			Success: []*pb.RequestOp{opPut("k", "2"), opGet("k"), opDelete("none", ""), {Request: &pb.RequestOp_RequestTxn{
				RequestTxn: &pb.TxnRequest{Failure: []*pb.RequestOp{opGet("k")}, Success: []*pb.RequestOp{opPut("n", "1")}},
			}}},
			Failure: []*pb.RequestOp{opPut("wrong", "branch")},
		}},
		{"delete of nothing", kindDelete, &pb.DeleteRangeRequest{Key: []byte("none")}},
		{"txn that writes nothing", kindTxn, &pb.TxnRequest{
			Compare: []*pb.Compare{valueIs("k", "no")}, Success: []*pb.RequestOp{opPut("wrong", "branch")}, Failure: []*pb.RequestOp{opGet("k")},
		}},
		{"put refused: no key", kindPut, &pb.PutRequest{Key: []byte("later"), IgnoreValue: true}},
		{"put refused: no lease", kindPut, &pb.PutRequest{Key: []byte("later"), Lease: 7}},
		{"txn refused: future revision", kindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{opPut("wrong", "x"), {
			Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("k"), Revision: 1 << 40}}}}}},
	} {
		first := r.doAs(c.name, c.kind, c.req)
		if first.commit.Repeated {
			t.Errorf("%s: the first is taken for a repetition", c.name)
		}
		r.put("later", c.name) // what is kept must not depend on the state
		r.put("k2", c.name)
		before := r.fingerprint()
		again := r.doAs(c.name, c.kind, c.req)
		if r.fingerprint() != before {
			t.Errorf("%s: the repetition changed something", c.name)
		}
		if first.err != nil {
			if !errors.Is(again.err, first.err) {
				t.Errorf("%s: repeated %v, first %v", c.name, again.err, first.err)
			}
			continue
		}
		if again.err != nil || !proto.Equal(again.response, first.response) {
			t.Errorf("%s: repeated %v, %v, first %v", c.name, again.response, again.err, first.response)
		}
		want := first.commit
		want.Repeated = true
		if again.commit != want {
			t.Errorf("%s: commit %+v, want %+v", c.name, again.commit, want)
		}
	}
	if v, ok := r.get("wrong"); ok {
		t.Errorf("a branch that was not taken wrote %q", v)
	}
}

func TestTwoAttemptsInOneEntry(t *testing.T) {
	r := newReplica(t, "a")
	req := &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}
	one, two := r.enqueueAs("id", kindPut, req), r.enqueueAs("id", kindPut, req)
	other := r.enqueueAs("id", kindPut, &pb.PutRequest{Key: []byte("k"), Value: []byte("w")})
	r.commitQueued()
	first, second := <-one.done, <-two.done
	if first.err != nil || second.err != nil || first.commit.Repeated || !second.commit.Repeated || first.commit.Revision != second.commit.Revision {
		t.Errorf("first %+v, second %+v", first, second)
	}
	if got := <-other.done; !errors.Is(got.err, ErrRequestReused) {
		t.Errorf("another request with the id: %v", got.err)
	}
	if v, _ := r.get("k"); v != "v" || r.Revision() != 2 {
		t.Errorf("k is %q at revision %d", v, r.Revision())
	}
}

func TestReusedIDIsRefusedAndChangesNothing(t *testing.T) {
	r := newReplica(t, "a", "b")
	r.doAs("id", kindPut, &pb.PutRequest{Key: []byte("k"), Value: []byte("1")})
	before, record := r.fingerprint(), r.remembered("id")
	for name, c := range map[string]struct {
		kind kind
		req  proto.Message
	}{
		"value": {kindPut, &pb.PutRequest{Key: []byte("k"), Value: []byte("2")}},
		"flag":  {kindPut, &pb.PutRequest{Key: []byte("k"), Value: []byte("1"), PrevKv: true}},
		// The same bytes as the put, read as another kind of request.
		"kind": {kindDelete, &pb.DeleteRangeRequest{Key: []byte("k"), RangeEnd: []byte("1")}},
		"txn":  {kindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{opPut("k", "1")}}},
	} {
		if got := r.doAs("id", c.kind, c.req); !errors.Is(got.err, ErrRequestReused) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if r.fingerprint() != before || r.remembered("id") != record {
		t.Error("a refused request changed something")
	}
}

func TestWhatIsTooLargeToKeep(t *testing.T) {
	r := newReplica(t, "a")
	large := strings.Repeat("x", maxOutcomeBytes)
	r.put("k", large)
	put := &pb.PutRequest{Key: []byte("k"), Value: []byte("1"), PrevKv: true}
	first := r.doAs("put", kindPut, put)
	r.put("k", "9")
	got := r.doAs("put", kindPut, put)
	resp := got.response.(*pb.PutResponse)
	if !got.commit.Reduced || resp.PrevKv != nil || resp.Header.Revision != first.commit.Revision || got.commit.Revision != first.commit.Revision {
		t.Errorf("repeated %+v", got)
	}

	many := &pb.TxnRequest{Success: []*pb.RequestOp{opDelete("k", "")}}
	for i := range 127 {
		many.Success = append(many.Success, opPut(fmt.Sprint("m", i), "v"))
	}
	whole := r.doAs("many", kindTxn, many)
	if proto.Size(whole.response) <= maxOutcomeBytes {
		t.Fatal("the answer is small")
	}
	r.put("k", "9")
	if got = r.doAs("many", kindTxn, many); got.commit.Reduced || !proto.Equal(got.response, whole.response) {
		t.Errorf("a long answer without keys and values came back as %+v", got)
	}

	longer := &pb.TxnRequest{Failure: []*pb.RequestOp{opGet("k")}}
	for i := range 1000 {
		longer.Success = append(longer.Success, opPut(fmt.Sprint("m", i), "v"))
	}
	first = r.doAs("longer", kindTxn, longer)
	r.put("k", "9")
	got = r.doAs("longer", kindTxn, longer)
	txn := got.response.(*pb.TxnResponse)
	if !got.commit.Reduced || !txn.Succeeded || len(txn.Responses) != 0 || txn.Header.Revision != first.commit.Revision {
		t.Errorf("repeated %+v", got)
	}
	if n := len(r.remembered("longer")); n > maxOutcomeBytes+128 {
		t.Errorf("%d bytes are kept", n)
	}
}

// The frame's bytes are hashed, so what an outline looks like may never change.
func TestOutlineBytes(t *testing.T) {
	kv := &mvccpb.KeyValue{Key: []byte("k")}
	op := wrapResponse(&pb.TxnResponse{Header: &pb.ResponseHeader{Revision: 7}, Succeeded: true, Responses: []*pb.ResponseOp{
		wrapResponse(&pb.PutResponse{Header: &pb.ResponseHeader{Revision: 7}}),
		wrapResponse(&pb.DeleteRangeResponse{Deleted: 300, PrevKvs: []*mvccpb.KeyValue{kv}}),
		{Response: &pb.ResponseOp_ResponseRange{ResponseRange: &pb.RangeResponse{Count: 2, More: true, Kvs: []*mvccpb.KeyValue{kv}}}},
		wrapResponse(&pb.TxnResponse{Responses: []*pb.ResponseOp{wrapResponse(&pb.PutResponse{PrevKv: kv})}}),
	}})
	got, reduced := outline(op)
	const want = "221d" + "1001" + "1a021200" + "1a051a0310ac02" + "1a060a0418012002" + "1a0622041a021200"
	if hex.EncodeToString(got) != want || !reduced {
		t.Errorf("outline %x, reduced %t, want %s", got, reduced, want)
	}
	back := &pb.ResponseOp{}
	if err := proto.Unmarshal(got, back); err != nil {
		t.Fatal(err)
	}
	again, reduced := outline(back)
	if !bytes.Equal(again, got) || reduced || back.GetResponseTxn().Responses[1].GetResponseDeleteRange().Deleted != 300 ||
		!back.GetResponseTxn().Responses[2].GetResponseRange().More {
		t.Errorf("read back as %v", back)
	}
}

// copyOf takes a consistent copy of what r has flushed into another directory's store.
func (r *replica) restoreFrom(src *replica) {
	r.t.Helper()
	if err := src.store.Flush(); err != nil {
		r.t.Fatal(err)
	}
	snap, err := src.Snapshot()
	if err != nil {
		r.t.Fatal(err)
	}
	defer snap.Close()
	if err := r.Restore(snap.Applied, snap); err != nil {
		r.t.Fatal(err)
	}
	r.index = snap.Index
}

// Replicas that flush at other times, crash and replay, or come from a snapshot must remember the same ids:
// one that had forgotten another would apply a retry that the others only answer.
func TestRememberedRequestsAreTheSameEverywhere(t *testing.T) {
	const keep = 7
	rnd := rand.New(rand.NewPCG(1, rand.Uint64()))
	leader := newReplica(t, "a", "b")
	peer := newReplica(t, "b", "a")
	leader.cfg.requests, peer.cfg.requests = keep, 1000
	log := [][]byte{}
	tap := func() { // commits what waits at the leader and keeps it for the others
		for data := leader.queue.take(1, 1<<20); data != nil; data = leader.queue.take(1, 1<<20) {
			leader.apply(data)
			log = append(log, data)
		}
	}
	cfg := Config{Name: "a", Peers: []string{"b"}, Dir: t.TempDir(), requests: keep}
	crashing := openReplica(t, cfg)
	lagging := openReplica(t, Config{Name: "a", Peers: []string{"b"}, Dir: t.TempDir(), requests: keep})
	lagging.restoreFrom(leader) // has the incarnation
	crashing.restoreFrom(leader)
	base := crashing.index
	replay := func(r *replica) {
		for r.index-base < uint64(len(log)) {
			r.apply(log[r.index-base])
		}
	}
	for step := range 60 {
		for range 1 + rnd.IntN(4) {
			id := fmt.Sprint(rnd.IntN(2 * keep))
			switch rnd.IntN(6) {
			case 0:
				peer.doAs(id, kindPut, &pb.PutRequest{Key: []byte("p" + id), Value: []byte("b")})
			case 1:
				leader.enqueueAs(id, kindDelete, &pb.DeleteRangeRequest{Key: []byte("k" + id)})
			case 2:
				leader.enqueueAs(id, kindPut, &pb.PutRequest{Key: []byte("none"), IgnoreValue: true})
			default:
				leader.enqueueAs(id, kindPut, &pb.PutRequest{Key: []byte("k" + id), Value: []byte("v")})
			}
		}
		tap()
		for _, f := range peer.next(leader) {
			if _, err := leader.queue.add(item{kind: kindFrame, payload: f.Bytes}); err != nil {
				t.Fatal(err)
			}
		}
		tap()
		replay(crashing)
		switch rnd.IntN(5) {
		case 0:
			if err := crashing.store.Flush(); err != nil {
				t.Fatal(err)
			}
		case 1: // loses what was not flushed, and replays it
			crashing.store.Kill()
			if err := crashing.store.Close(); err != nil {
				t.Fatal(err)
			}
			crashing = openReplica(t, cfg)
			replay(crashing)
		case 2:
			lagging.restoreFrom(leader)
		case 3:
			replay(lagging)
		}
		if step%10 != 9 {
			continue
		}
		replay(lagging)
		for name, r := range map[string]*replica{"crashing": crashing, "lagging": lagging} {
			if r.fingerprint() != leader.fingerprint() {
				t.Fatalf("step %d: %s has %s, the leader %s", step, name, r.fingerprint(), leader.fingerprint())
			}
			for i := range 2 * keep {
				if id := fmt.Sprint(i); r.remembered(id) != leader.remembered(id) {
					t.Fatalf("step %d: %s remembers %q for %s, the leader %q", step, name, r.remembered(id), id, leader.remembered(id))
				}
			}
			if err := r.store.Check(); err != nil {
				t.Fatal(err)
			}
		}
		if leader.store.Requests() > keep {
			t.Fatalf("%d requests are remembered, the bound is %d", leader.store.Requests(), keep)
		}
	}
	if leader.store.Requests() != keep {
		t.Errorf("%d requests are remembered at the end, want %d", leader.store.Requests(), keep)
	}
}

// The oldest id is forgotten first, and an answer does not make an id younger.
func TestOldestRequestIsForgotten(t *testing.T) {
	r := newReplica(t, "a")
	r.cfg.requests = 3
	put := func(id string) result {
		return r.doAs(id, kindPut, &pb.PutRequest{Key: []byte("k" + id)})
	}
	for _, id := range []string{"1", "2", "3", "1", "4"} {
		put(id)
	}
	for id, known := range map[string]bool{"2": true, "3": true, "4": true} {
		if got := put(id); got.commit.Repeated != known {
			t.Errorf("%s: %+v", id, got.commit)
		}
	}
	if got := put("1"); got.commit.Repeated {
		t.Errorf("1 is still known: %+v", got.commit)
	}
}

func TestRetryInAnotherDatacenter(t *testing.T) {
	a, b, c := newReplica(t, "a", "b", "c"), newReplica(t, "b", "a", "c"), newReplica(t, "c", "a", "b")
	b.put("own", "1") // revisions differ from here on
	b.put("own", "2")
	txn := &pb.TxnRequest{
		Compare: []*pb.Compare{valueIs("n", "0")},
		Success: []*pb.RequestOp{opPut("n", "wrong")},
		Failure: []*pb.RequestOp{opPut("n", "1"), opGet("n"), opDelete("none", "")},
	}
	put := &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}
	nothing := &pb.DeleteRangeRequest{Key: []byte("none")}
	first, firstPut := a.doAs("t", kindTxn, txn), a.doAs("p", kindPut, put)
	a.doAs("nothing", kindDelete, nothing)
	ship(t, a, b)
	for _, f := range a.next(c) { // c has it by relay: the frame is the same
		if err := c.receive(f)[0]; err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []*replica{b, c} {
		local := r.Revision() - 1 // the txn came before the put
		before := r.fingerprint()
		got := r.doAs("t", kindTxn, txn)
		want := Commit{Revision: first.commit.Revision, Stamp: first.commit.Stamp, Repeated: true, Origin: "a", Reduced: true}
		if got.err != nil || got.commit != want {
			t.Fatalf("%s: %+v, want %+v", r.cfg.Name, got, want)
		}
		resp := got.response.(*pb.TxnResponse)
		if resp.Succeeded || resp.Header.Revision != local || len(resp.Responses) != 3 ||
			resp.Responses[1].GetResponseRange().Count != 1 || resp.Responses[0].GetResponsePut().Header.Revision != local {
			t.Errorf("%s at %d: %v", r.cfg.Name, local, resp)
		}
		got = r.doAs("p", kindPut, put)
		if got.err != nil || got.commit.Origin != "a" || got.commit.Revision != firstPut.commit.Revision || got.commit.Reduced ||
			got.response.(*pb.PutResponse).Header.Revision != local+1 {
			t.Errorf("%s: %+v", r.cfg.Name, got)
		}
		if got := r.doAs("p", kindPut, &pb.PutRequest{Key: []byte("k"), Value: []byte("other")}); !errors.Is(got.err, ErrRequestReused) {
			t.Errorf("%s: %+v", r.cfg.Name, got)
		}
		if r.fingerprint() != before {
			t.Errorf("%s: answering changed something", r.cfg.Name)
		}
		if got := r.doAs("nothing", kindDelete, nothing); got.commit.Repeated {
			t.Errorf("%s knows of a write that changed nothing elsewhere: %+v", r.cfg.Name, got.commit)
		}
	}
}

// Two DCs took the same id before either heard of the other: each stays with its own, and they converge.
func TestSameIDInTwoDatacenters(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	req := &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}
	a.doAs("id", kindPut, req)
	b.doAs("id", kindPut, req)
	ship(t, a, b)
	ship(t, b, a)
	sameData(t, a, b)
	for _, r := range []*replica{a, b} {
		if got := r.doAs("id", kindPut, req); !got.commit.Repeated || got.commit.Origin != "" || got.commit.Revision != 2 {
			t.Errorf("%s: %+v", r.cfg.Name, got.commit)
		}
	}
}

// What a newer version puts into a frame must not stop this one.
func TestForeignRequestThatCannotBeUsed(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	own := a.Position("a")
	f := &event.Frame{Origin: "a", Incarnation: own.Incarnation}
	for i, q := range []*event.Request{
		{}, {ID: []byte("short"), Hash: []byte("x")}, {ID: bytes.Repeat([]byte("x"), MaxRequestID+1), Hash: make([]byte, 32)},
		{ID: []byte("long"), Hash: make([]byte, 32), Outcome: make([]byte, maxOutcomeBytes+1)},
	} {
		f.Txns = append(f.Txns, event.Txn{Revision: int64(i + 2), Ops: []event.Op{{Kind: event.OpPut, Key: []byte("k")}}, Request: q})
	}
	s, err := event.Seal(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.receive(s)[0]; err != nil {
		t.Fatal(err)
	}
	if n := b.store.Requests(); n != 1 {
		t.Errorf("%d requests are remembered, want the last", n)
	}
	if len(b.remembered("long")) > maxOutcomeBytes {
		t.Error("an outcome beyond the bound is kept")
	}
}

// A request sent again while leaders are killed is applied once: the group's own retry after a kill, where
// the outcome of the first attempt is not known.
func TestRequestsSurviveLeaderKills(t *testing.T) {
	ctx := testContext(t)
	g := newGroup(t, 3)
	for round := range 3 {
		leader := g.leader()
		id := fmt.Sprint("round ", round)
		req := putRequest(id, "v")
		first, made, err := leader.Put(WithRequestID(ctx, id), req)
		if err != nil {
			t.Fatal(err)
		}
		leader.kill()
		for {
			again, repeated, err := g.leader().Put(WithRequestID(ctx, id), req)
			if errors.Is(err, ErrNotLeader) || errors.Is(err, ErrSuperseded) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			made.Repeated = true
			if repeated != made || again.Header.Revision != first.Header.Revision {
				t.Errorf("round %d: %+v at %d, first %+v at %d", round, repeated, again.Header.Revision, made, first.Header.Revision)
			}
			break
		}
		leader.start(t, leader.cfg)
	}
	if _, err := (item{kind: kindPut}).withID(strings.Repeat("x", MaxRequestID+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an id beyond the bound: %v", err)
	}
}

func TestMalformedRequestStopsTheReplica(t *testing.T) {
	r := newReplica(t, "a")
	for _, payload := range [][]byte{{0xff}, nil, {requestFieldKind << 3, byte(kindConfirm)}} {
		if _, err := decodeRequest(payload); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: %v", payload, err)
		}
	}
	e := entry{items: []item{{kind: 100}}}
	if err := r.Apply([]consensus.Entry{{Index: r.index + 1, Term: 1, Data: e.marshal()}}); !errors.Is(err, ErrMalformed) {
		t.Errorf("a kind of a newer version: %v", err)
	}
	if b, err := r.store.Begin(); !errors.Is(err, store.ErrBroken) {
		b.Commit(store.Applied{})
		t.Errorf("the replica goes on: %v", err)
	}
}
