package dc

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"geogate/dc/store"
	"geogate/replication/event"
)

// attempt is a write with an id that some datacenter has answered.
type attempt struct {
	id    string
	kind  kind
	req   proto.Message
	first result
}

// attemptAt makes a random write with an id.
func attemptAt(r *replica, rng *rand.Rand, id string) attempt {
	key := func() string { return fmt.Sprintf("k%d", rng.IntN(6)) }
	r.now = r.now.Add(time.Duration(rng.IntN(3)) * time.Millisecond)
	a := attempt{id: id}
	switch rng.IntN(4) {
	case 0:
		a.kind, a.req = kindDelete, &pb.DeleteRangeRequest{Key: []byte(key()), PrevKv: rng.IntN(2) == 0}
	case 1:
		a.kind, a.req = kindTxn, &pb.TxnRequest{
			Compare: []*pb.Compare{valueIs(key(), "1")},
			Success: []*pb.RequestOp{opPut(key(), "1"), opGet("k1")}, Failure: []*pb.RequestOp{opPut(key(), "2")},
		}
	default:
		a.kind, a.req = kindPut, &pb.PutRequest{Key: []byte(key()), Value: bytes.Repeat([]byte("1"), 1+rng.IntN(1200)), PrevKv: true}
	}
	a.first = r.doAs(id, a.kind, a.req)
	return a
}

// After a snapshot, under writes on both sides, a retry of whatever the sender remembered and its marks cover is
// answered with the first outcome, in the form that the frame would have given, and applies nothing.
func TestSnapshotCarriesRequestIDs(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { snapshotCarriesIDs(t, rand.New(rand.NewPCG(seed, 3))) })
	}
}

func snapshotCarriesIDs(t *testing.T, rng *rand.Rand) {
	a, b, c, framed := newReplica(t, "a", "b", "c"), newReplica(t, "b", "a", "c"), newReplica(t, "c", "a", "b"), newReplica(t, "d", "a", "b", "c")
	var made []attempt
	write := func(r *replica) {
		made = append(made, attemptAt(r, rng, fmt.Sprintf("%s%d", r.cfg.Name, len(made))))
	}
	for range 60 {
		write(a)
		if rng.IntN(3) == 0 {
			write(c)
		}
		if rng.IntN(8) == 0 {
			ship(t, c, a)
		}
		if rng.IntN(20) == 0 {
			if err := a.store.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	ship(t, c, a)
	covered := a.Vector()
	snapshot(t, a, b, 400, func(int) {
		if rng.IntN(2) == 0 {
			write(a)
		}
	})
	ship(t, c, framed)
	ship(t, a, framed)
	retried := 0
	for _, m := range made {
		origin := m.id[:1]
		if m.first.err != nil || m.first.commit.Revision == 0 || m.first.commit.Revision > covered[origin] {
			continue
		}
		retried++
		before := fmt.Sprint(b.fingerprint(), b.Position("c"))
		got, want := b.doAs(m.id, m.kind, m.req), framed.doAs(m.id, m.kind, m.req)
		if got.err != nil || !got.commit.Repeated || got.commit != want.commit || got.commit.Revision != m.first.commit.Revision {
			t.Fatalf("%s: %+v, %v; by frames it is %+v", m.id, got.commit, got.err, want.commit)
		}
		if g, w := withoutHeaders(got.response), withoutHeaders(want.response); !proto.Equal(g, w) {
			t.Errorf("%s: answered %v, by frames %v", m.id, g, w)
		}
		if after := fmt.Sprint(b.fingerprint(), b.Position("c")); after != before {
			t.Fatalf("%s: the retry changed something: %s, before %s", m.id, after, before)
		}
	}
	if retried < 20 {
		t.Fatalf("only %d retries", retried)
	}
	ship(t, a, b) // what was made behind the marks comes with its frames, once
	sameTable(t, b)
	ship(t, b, a)
	for _, m := range made {
		if m.id[:1] == "a" && m.first.err == nil && m.first.commit.Revision != 0 && !b.doAs(m.id, m.kind, m.req).commit.Repeated {
			t.Errorf("%s is unknown after its frame", m.id)
		}
	}
}

func withoutHeaders(m proto.Message) proto.Message {
	op := wrapResponse(proto.Clone(m))
	fillHeaders(op, 1)
	return op
}

// sameTable says that what is on disk is the table in memory.
func sameTable(t *testing.T, r *replica) {
	t.Helper()
	if err := r.store.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Check(); err != nil {
		t.Fatal(err)
	}
}

// An id comes to be known no earlier than its effects: a snapshot that was left off has brought neither, or the
// keys alone.
func TestRequestIDComesBehindItsEffects(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	a.doAs("first", kindPut, &pb.PutRequest{Key: []byte("a")})
	late := &pb.PutRequest{Key: []byte("a"), Value: []byte("late")}
	var after []byte
	for i, done := 0, false; !done; i++ {
		chunk, last, end, err := a.Export(t.Context(), after, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			a.doAs("late", kindPut, late) // behind the key in the snapshot
		}
		b.propose(kindMerge, chunk)
		after, done = last, end
	}
	if b.remembered("first") == "" {
		t.Error("the id that was there from the start is missing")
	}
	if b.remembered("late") != "" {
		t.Error("an id is known whose write is not here")
	}
}

// A full table gives up older requests for those of a snapshot, and no younger ones.
func TestSnapshotDisplacesOnlyOlderRequests(t *testing.T) {
	put := func(r *replica, id string) {
		r.now = r.now.Add(time.Second)
		r.doAs(id, kindPut, &pb.PutRequest{Key: []byte("k" + id)})
	}
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	b.cfg.requests = 4
	put(a, "a1")
	b.now = a.now
	for _, id := range []string{"b2", "b3", "b4"} {
		put(b, id)
	}
	b.doAs("nothing", kindDelete, &pb.DeleteRangeRequest{Key: []byte("none")}) // no stamp
	a.now = b.now
	put(a, "a5")
	put(a, "a6")
	snapshot(t, a, b, 1<<20, nil)
	for id, want := range map[string]bool{"a1": false, "b2": false, "b3": false, "b4": true, "nothing": true, "a5": true, "a6": true} {
		if known := b.remembered(id) != ""; known != want {
			t.Errorf("%s is known: %t", id, known)
		}
	}
	digest := b.fingerprint()
	snapshot(t, a, b, 1<<20, nil) // again
	if b.fingerprint() != digest {
		t.Error("the same snapshot changed something")
	}
}

// What has no ids is exported as builds before did, whose chunks and places are still read.
func TestChunksWithoutRequestsAreOfTheOldFormat(t *testing.T) {
	a := newReplica(t, "a", "b")
	a.put("k1", "1")
	a.put("k2", "1")
	chunk, last, _, err := a.Export(t.Context(), nil, 0, 1)
	if err != nil || string(last) != "k1" || !bytes.HasPrefix(chunk, []byte{chunkFieldVersion << 3, chunkVersion}) {
		t.Errorf("chunk %x, place %q, %v", chunk, last, err)
	}
	a.doAs("id", kindPut, &pb.PutRequest{Key: []byte("k3")})
	if _, last, _, err = a.Export(t.Context(), []byte("k1"), 1, 1<<20); err != nil || string(last) != "k3" {
		t.Errorf("from an old place to %q, %v", last, err)
	}
	old := appendChunk(nil, []event.Mark{{Position: event.Position{Origin: "a", Incarnation: 1, Revision: 2}}}, nil)
	q := requestState{id: []byte("i"), hash: make([]byte, 32), origin: "a", revision: 1}
	claimed := append(appendRequests(old, []requestState{q}), appendUint(nil, chunkFieldVersion, chunkVersion)...)
	if _, err := decodeChunk(claimed); !errors.Is(err, ErrMalformed) {
		t.Errorf("requests in a chunk of version 1: %v", err)
	}
}

func TestCursors(t *testing.T) {
	for _, bound := range []uint64{0, 7} {
		for _, key := range []string{"", "k", cursorMark, cursorMark + "k", cursorMark + "u12345678x", "\x00"} {
			if p := parseCursor(cursorOfKey(bound, []byte(key))); string(p.key) != key || p.bound != bound || p.phase != cursorKey {
				t.Errorf("key %q bound %d: %+v", key, bound, p)
			}
			if p := parseCursor(cursorOfSystem(bound, key)); p.name != key || p.bound != bound || p.phase != cursorSystem {
				t.Errorf("entry %q bound %d: %+v", key, bound, p)
			}
		}
		if p := parseCursor(cursorOfRequest(bound, 9)); p.request != 9 || p.bound != bound || p.phase != cursorRequest {
			t.Errorf("request 9 bound %d: %+v", bound, p)
		}
	}
}

func FuzzDecodeChunkWithRequests(f *testing.F) {
	q := requestState{id: []byte("i"), hash: make([]byte, 32), origin: "a", revision: 1, stamp: 2, outcome: []byte{1}, reduced: true}
	f.Add(appendRequests(appendChunk([]store.Version{}, nil, nil), []requestState{q}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeChunk(b)
		if err != nil {
			return
		}
		r := newReplica(t, "b", "a")
		r.propose(kindMerge, b)
		for i := range c.requests {
			if len(c.requests[i].id) <= MaxRequestID && r.remembered(string(c.requests[i].id)) == "" {
				t.Errorf("request %q is not remembered", c.requests[i].id)
			}
		}
	})
}
