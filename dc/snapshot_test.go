package dc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
	"geogate/replication/event"
)

// snapshot merges all of src into dst in chunks of about size bytes, as a receiver does. between runs before
// each chunk.
func snapshot(t testing.TB, src, dst *replica, size int, between func(i int)) {
	t.Helper()
	marks, _, high := src.Marks()
	var after []byte
	for i, done := 0, false; !done; i++ {
		if between != nil {
			between(i)
		}
		var chunk []byte
		var err error
		if chunk, after, done, err = src.Export(t.Context(), after, 0, size); err != nil {
			t.Fatal(err)
		}
		dst.propose(kindMerge, chunk)
	}
	dst.adoptFrom(src, marks, high)
}

// propose commits an item of bookkeeping.
func (r *replica) propose(k kind, payload []byte) {
	r.t.Helper()
	p, err := r.queue.add(item{kind: k, payload: payload})
	if err != nil {
		r.t.Fatal(err)
	}
	r.commitQueued()
	if res := <-p.done; res.err != nil {
		r.t.Fatal(res.err)
	}
}

func (r *replica) adoptFrom(src *replica, marks []event.Mark, high event.Stamp) {
	r.t.Helper()
	a := adoption{From: src.cfg.Name, High: uint64(high), Peers: r.cfg.Peers}
	for _, m := range marks {
		a.Marks = append(a.Marks, recordOf(m))
	}
	r.propose(kindAdopt, mustMarshal(a))
}

func (r *replica) frameErr(f event.Sealed) error { r.t.Helper(); return r.receive(f)[0] }

func TestSnapshotMergesKeyByKey(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	for i := range 200 {
		a.put(fmt.Sprintf("k%03d", i), "old")
	}
	ship(t, a, b)
	before := map[string]int64{}
	b.now = b.now.Add(time.Minute)
	b.put("k007", "newer at b")
	a.now = a.now.Add(time.Second)
	for i := range 50 {
		a.put(fmt.Sprintf("k%03d", i), "new")
	}
	a.del("k100")
	a.put("only-a", "x")
	untouched, err := b.store.Latest([]byte("k150"))
	if err != nil {
		t.Fatal(err)
	}
	before["k150"] = untouched.Mod

	snapshot(t, a, b, 500, nil)
	ship(t, b, a)
	sameData(t, a, b)
	if v, ok := b.get("k100"); ok {
		t.Errorf("a deleted key is %q", v)
	}
	if v, _ := b.get("k007"); v != "newer at b" {
		t.Errorf("a later local write became %q", v)
	}
	if v, _ := b.store.Latest([]byte("k150")); v.Mod != before["k150"] {
		t.Errorf("a key that lost nothing moved from revision %d to %d", before["k150"], v.Mod)
	}
	if _, total, _ := b.Conflicts(1); total != 0 {
		t.Errorf("%d conflicts of a snapshot", total)
	}
	// The chain goes on behind the snapshot, and is not served across the hole.
	a.put("after", "snapshot")
	ship(t, a, b)
	sameData(t, a, b)
	if _, err := b.Frames("a", 0, 1); !errors.Is(err, store.ErrTrimmed) {
		t.Errorf("frames across the hole: %v", err)
	}
	if err := b.store.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := b.store.Check(); err != nil {
		t.Error(err)
	}
}

// A delete that nobody retains as a frame must not be undone by a DC that was away.
func TestSnapshotCarriesTombstones(t *testing.T) {
	a, b, c := newReplica(t, "a", "b", "c"), newReplica(t, "b", "a", "c"), newReplica(t, "c", "a", "b")
	a.put("gone", "x")
	ship(t, a, b)
	ship(t, a, c)
	a.now = a.now.Add(time.Second)
	a.del("gone")
	ship(t, a, c)
	c.put("c", "1")
	ship(t, c, a)
	snapshot(t, c, b, 1<<20, nil) // from a third DC
	if _, ok := b.get("gone"); ok {
		t.Error("the deleted key is there")
	}
	b.put("b", "1")
	ship(t, b, a)
	ship(t, b, c)
	sameData(t, a, b, c)
}

// Chunks that were taken at different moments, merged twice, or left off in the middle.
func TestSnapshotUnderWrites(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
		write := func(r *replica) {
			r.now = r.now.Add(time.Duration(rng.IntN(3)) * time.Millisecond)
			key := fmt.Sprintf("k%02d", rng.IntN(40))
			if rng.IntN(3) == 0 {
				r.do(kindDelete, &pb.DeleteRangeRequest{Key: []byte(key)})
			} else {
				r.put(key, fmt.Sprint(rng.Int()))
			}
		}
		for range 100 {
			write(a)
			write(b)
			if rng.IntN(10) == 0 {
				ship(t, a, b)
			}
		}
		between := func(int) {
			for range rng.IntN(6) {
				write(a)
				write(b)
			}
			if rng.IntN(3) == 0 {
				ship(t, b, a) // the other direction goes on
			}
		}
		marks, _, _ := a.Marks()
		half, _, _, err := a.Export(t.Context(), nil, 0, 300)
		if err != nil {
			t.Fatal(err)
		}
		between(0)
		b.propose(kindMerge, half) // and then the leader was lost
		_ = marks
		snapshot(t, a, b, 300, between)
		ship(t, a, b)
		ship(t, b, a)
		sameData(t, a, b)
		if held, _ := b.Digest(); held == 0 {
			t.Fatal("no data")
		}
		if len(b.state.reach) != 0 {
			t.Errorf("seed %d: reach %v is left", seed, b.state.reach)
		}
	}
}

// A DC whose data was lost begins another life, takes back what the others have, and is taken for what it is.
func TestRebuiltDatacenter(t *testing.T) {
	a, b, c := newReplica(t, "a", "b", "c"), newReplica(t, "b", "a", "c"), newReplica(t, "c", "a", "b")
	c.put("c1", "both have it")
	ship(t, c, a)
	ship(t, c, b)
	c.put("c2", "only a has it")
	ship(t, c, a)
	a.put("a1", "x")
	b.put("b1", "x")
	ship(t, a, b)
	ship(t, b, a)

	again := newReplica(t, "c", "a", "b")
	again.put("c3", "second life")
	frames, err := again.Frames("c", 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.frameErr(frames[0]); !errors.Is(err, event.ErrIncarnation) {
		t.Fatalf("a frame of another life: %v", err)
	}
	snapshot(t, b, again, 1<<20, nil)
	snapshot(t, again, a, 1<<20, nil)
	snapshot(t, again, b, 1<<20, nil)
	// b knows that it lacks some of c's first life, because a's marks say so.
	_, held := a.Digest()
	if _, less := b.Digest(); held.Covers(less) == less.Covers(held) {
		t.Fatalf("a holds %v, b %v", held, less)
	}
	snapshot(t, a, b, 1<<20, nil)
	snapshot(t, a, again, 1<<20, nil)
	again.put("c4", "goes on")
	ship(t, again, a)
	ship(t, again, b)
	sameData(t, a, b, again)
	for _, key := range []string{"c1", "c2", "c3", "c4", "a1", "b1"} {
		if _, ok := again.get(key); !ok {
			t.Errorf("%s is missing", key)
		}
	}
}

// What was merged of a snapshot that never ended is fetched by the others when its sender begins a new life.
func TestFragmentOfASnapshotIsKept(t *testing.T) {
	a, b, c := newReplica(t, "a", "b", "c"), newReplica(t, "b", "a", "c"), newReplica(t, "c", "a", "b")
	a.put("x", "1")
	ship(t, a, b)
	ship(t, a, c)
	a.put("y", "never shipped")
	chunk, _, _, err := a.Export(t.Context(), nil, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	b.propose(kindMerge, chunk)
	if _, hb := b.Digest(); fmt.Sprint(hb) == fmt.Sprint(c.Vector()) {
		t.Errorf("b says that it holds %v, as c does, and has more", hb)
	}
	again := newReplica(t, "a", "b", "c") // a's data is lost
	for _, r := range []*replica{b, c} {
		snapshot(t, again, r, 1<<20, nil)
	}
	snapshot(t, b, c, 1<<20, nil)
	snapshot(t, b, again, 1<<20, nil)
	sameData(t, b, c, again)
	if _, ok := c.get("y"); !ok {
		t.Error("y is missing at c")
	}
}

func TestTombstonesOfAnotherLifeAreKept(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	a.put("k", "1")
	ship(t, a, b)
	a.confirm(a, b)
	if a.state.barrier.Reached == nil {
		t.Fatal("no barrier")
	}
	again := newReplica(t, "b", "a")
	snapshot(t, again, a, 1<<20, nil)
	if a.state.barrier.Reached != nil {
		t.Error("what b's first life had applied still counts")
	}
	// A matrix of before is not taken for one of now.
	p, err := a.queue.add(item{
		kind: kindConfirm, payload: mustMarshal(matrixEntry{"a": a.Vector(), "b": a.Vector()}),
		note: mustMarshal(note{Lives: map[string]uint64{"a": a.Incarnation(), "b": b.Incarnation()}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	a.commitQueued()
	<-p.done
	if a.state.barrier.Reached != nil {
		t.Error("a matrix of an ended life was counted")
	}
}

func TestRetentionIsBounded(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	a.cfg.RetentionBytes, a.cfg.RetentionAge = 4000, time.Hour
	for i := range 100 {
		a.put(fmt.Sprint("k", i), "0123456789")
	}
	trim := func() bool {
		e := a.excess()
		if len(e) == 0 {
			return false
		}
		a.noted(note{Trim: e})
		return true
	}
	if !trim() || trim() {
		t.Fatal("trimming once was not needed, or not enough")
	}
	if _, err := a.Frames("a", 0, 1); !errors.Is(err, store.ErrTrimmed) {
		t.Errorf("the oldest frames: %v", err)
	}
	left := func() int64 {
		for r := range a.Revision() {
			if bl, err := a.Backlog("a", r); err == nil {
				return bl.Bytes
			}
		}
		return 0
	}
	if n := left(); n > 4000 || n < 3000 {
		t.Errorf("%d bytes are left, the bound is 4000", n)
	}
	a.now = a.now.Add(2 * time.Hour)
	if !trim() || trim() {
		t.Fatal("frames are too old and were not trimmed")
	}
	if n := left(); n == 0 || n > 300 {
		t.Errorf("%d bytes are left, only the newest frame should be", n)
	}
	if a.state.barrier.Reached != nil {
		t.Error("trimming moved the tombstone barrier")
	}
	snapshot(t, a, b, 1<<20, nil)
	sameData(t, a, b)
}

func FuzzDecodeChunk(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendChunk([]store.Version{{Key: []byte("k"), Value: []byte("v"), Geo: store.Geo{Origin: "a", OriginRevision: 2, Stamp: 3}}},
		[]event.Mark{{Position: event.Position{Origin: "a", Incarnation: 1, Revision: 2}}}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeChunk(b)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
		if err == nil && c == nil {
			t.Fatal("nothing")
		}
	})
}

// A chunk that was under way for so long that what it brings has been deleted everywhere, and forgotten.
func TestAnOldChunkBringsNothingBack(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	for i := range 10 {
		a.put(fmt.Sprint("k", i), "1")
	}
	chunk, _, _, err := a.Export(t.Context(), nil, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	ship(t, a, b)
	for i := range 5 {
		a.del(fmt.Sprint("k", i))
	}
	for range 4 {
		a.put("x", "1")
		b.put("y", "1")
		ship(t, a, b)
		ship(t, b, a)
		a.confirm(a, b)
		b.confirm(a, b)
	}
	if _, known := stateOfKey(b, "k1"); known {
		t.Fatal("the tombstone of k1 is there still")
	}
	b.propose(kindMerge, chunk)
	sameData(t, a, b)
	if got, ok := b.get("k1"); ok {
		t.Errorf("k1 is %q again", got)
	}
	fresh := newReplica(t, "b", "a") // who has applied none of it takes it all
	fresh.propose(kindMerge, chunk)
	if got, _ := fresh.get("k1"); got != "1" {
		t.Errorf("k1 is %q where it was never deleted", got)
	}
}
