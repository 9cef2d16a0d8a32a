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

func TestLaterStampWinsEverywhere(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	b.now = b.now.Add(time.Second) // b's write is later by its clock
	a.put("k", "from a")
	b.put("k", "from b")
	ship(t, a, b)
	ship(t, b, a)
	for _, r := range []*replica{a, b} {
		if v, _ := r.get("k"); v != "from b" {
			t.Errorf("%s has %q", r.cfg.Name, v)
		}
		conflicts, total, err := r.Conflicts(10)
		if err != nil || total != 1 || len(conflicts) != 1 {
			t.Fatalf("%s counted %d conflicts, %v", r.cfg.Name, total, err)
		}
		if c := conflicts[0]; c.Winner.Origin != "b" || c.Loser.Origin != "a" || string(c.Value) != "from a" {
			t.Errorf("%s recorded %+v", r.cfg.Name, c)
		}
	}
	sameData(t, a, b)
}

// A transaction may put a key and delete it, or delete and put it: etcd overlooks some of these. What was done
// last must be what everybody has.
func TestTransactionThatPutsAndDeletesAKey(t *testing.T) {
	put := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k"), Value: []byte("new")}}}
	del := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}}}}
	for name, c := range map[string]struct {
		ops  []*pb.RequestOp
		want string
	}{
		"put, then delete": {[]*pb.RequestOp{put, del}, ""},
		"delete, then put": {[]*pb.RequestOp{del, put}, "new"},
	} {
		for _, before := range []bool{true, false} {
			a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
			if before {
				a.put("k", "old")
			}
			if r := a.do(kindTxn, &pb.TxnRequest{Success: c.ops}); r.err != nil {
				t.Fatal(r.err)
			}
			ship(t, a, b)
			for _, r := range []*replica{a, b} {
				if v, _ := r.get("k"); v != c.want {
					t.Errorf("%s, with one before %t: %s has %q, want %q", name, before, r.cfg.Name, v, c.want)
				}
			}
			sameData(t, a, b)
		}
	}
}

func TestEqualStampsGoToTheGreaterName(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	if ca, cb := a.put("k", "a"), b.put("k", "b"); ca.Stamp != cb.Stamp {
		t.Fatalf("stamps %v and %v, want equal ones", ca.Stamp, cb.Stamp)
	}
	ship(t, a, b)
	ship(t, b, a)
	if v, _ := a.get("k"); v != "b" {
		t.Errorf("a has %q", v)
	}
	sameData(t, a, b)
}

// A local write ordered after a frame from a DC whose clock runs ahead must win over it, at both.
func TestWriteOrderedAfterAFutureStampWins(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	b.now = b.now.Add(time.Hour)
	b.put("k", "future")
	frames := b.next(a)

	// Both wait together: the stamp of the write is taken before the frame is applied.
	fp, err := a.queue.add(item{kind: kindFrame, payload: frames[0].Bytes})
	if err != nil {
		t.Fatal(err)
	}
	entryWithFrame := a.queue.take(1, 1<<20)
	wp := a.enqueue(kindPut, putRequest("k", "now"))
	entryWithWrite := a.queue.take(1, 1<<20)
	a.apply(entryWithFrame)
	a.apply(entryWithWrite)
	if r := <-fp.done; r.err != nil {
		t.Fatal(r.err)
	}
	if r := <-wp.done; r.err != nil {
		t.Fatal(r.err)
	}
	ship(t, a, b)
	for _, r := range []*replica{a, b} {
		if v, _ := r.get("k"); v != "now" {
			t.Errorf("%s has %q", r.cfg.Name, v)
		}
		if _, total, _ := r.Conflicts(1); total != 0 {
			t.Errorf("%s counted %d conflicts for a write that had seen the other", r.cfg.Name, total)
		}
	}
	sameData(t, a, b)
}

func TestFrameIsAppliedOnceAndInOrder(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	for i := range 3 {
		a.put("k", fmt.Sprint(i))
	}
	frames := a.next(b)
	if len(frames) != 3 {
		t.Fatalf("%d frames", len(frames))
	}
	if err := b.receive(frames[1])[0]; !errors.Is(err, event.ErrGap) {
		t.Fatalf("a frame out of order: %v", err)
	}
	if errs := b.receive(frames[0], frames[0], frames[1]); errors.Join(errs...) != nil {
		t.Fatal(errs)
	}
	revision := b.Revision()
	if err := b.receive(frames[0])[0]; err != nil {
		t.Fatalf("a repeated frame: %v", err)
	}
	if b.Revision() != revision {
		t.Errorf("a repeated frame took revision %d", b.Revision())
	}
	if err := b.receive(frames[2])[0]; err != nil {
		t.Fatal(err)
	}
	sameData(t, a, b)
}

func TestFrameOfAnotherIncarnationIsRefused(t *testing.T) {
	a, again, b := newReplica(t, "a", "b"), newReplica(t, "a", "b"), newReplica(t, "b", "a")
	a.put("k", "first life")
	ship(t, a, b)
	again.put("k", "second life")
	frames, err := again.Frames("a", 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.receive(frames[0])[0]; !errors.Is(err, event.ErrIncarnation) {
		t.Fatalf("got %v", err)
	}
	if v, _ := b.get("k"); v != "first life" {
		t.Errorf("b has %q", v)
	}
}

// A delete must beat an earlier put that arrives after it, also where the key never was.
func TestDeleteBeatsAnEarlierPutThatArrivesLater(t *testing.T) {
	a, b, c := newReplica(t, "a", "b", "c"), newReplica(t, "b", "a", "c"), newReplica(t, "c", "a", "b")
	a.put("k", "v")
	ship(t, a, b)
	b.now = b.now.Add(time.Second)
	b.del("k")
	ship(t, b, c) // the delete overtakes the put
	revision := c.Revision()
	ship(t, a, c)
	if v, ok := c.get("k"); ok {
		t.Errorf("the deleted key came back as %q", v)
	}
	if c.Revision() != revision {
		t.Errorf("a put that changed nothing took revision %d", c.Revision())
	}
	if _, total, _ := c.Conflicts(1); total != 0 {
		t.Errorf("counted %d conflicts: the delete had seen the put", total)
	}
	ship(t, b, a)
	ship(t, c, a)
	ship(t, c, b)
	sameData(t, a, b, c)
}

func TestTombstoneOutlivesEveryPutThatMayStillArrive(t *testing.T) {
	a, b, c := newReplica(t, "a", "b", "c"), newReplica(t, "b", "a", "c"), newReplica(t, "c", "a", "b")
	all := []*replica{a, b, c}
	a.put("k", "v")
	ship(t, a, b)
	ship(t, a, c)
	c.put("k", "slow") // will stay on its way for long
	b.now = b.now.Add(time.Minute)
	b.del("k")
	ship(t, b, a)
	ship(t, b, c)
	// Everyone has the delete now, and says so twice: not enough, c's put is still travelling.
	a.confirm(all...)
	a.confirm(all...)
	a.confirm(all...)
	if _, known := headOf(a, "k"); !known {
		t.Fatal("the tombstone was collected while an older put was on its way")
	}
	ship(t, c, a)
	if v, ok := a.get("k"); ok {
		t.Fatalf("the deleted key came back as %q", v)
	}
	ship(t, c, b)
	a.confirm(all...)
	a.confirm(all...)
	if _, known := headOf(a, "k"); known {
		t.Error("the tombstone is still there though nothing can come before it any more")
	}
	sameData(t, a, b, c)
}

func headOf(r *replica, key string) (live, known bool) {
	b, err := r.store.Begin()
	if err != nil {
		r.t.Fatal(err)
	}
	h, ok := b.Head([]byte(key))
	b.Commit(r.store.Applied())
	return h.Live, ok
}

// version and history are the test's own idea of causality: sets instead of vectors.
type version struct {
	origin string
	rev    int64
}

// TestConvergenceAndConflictCount writes at random in three DCs, delivers frames at random, and compares
// data, and the number of conflicts with one counted from the full causal history.
func TestConvergenceAndConflictCount(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { convergence(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func convergence(t *testing.T, rnd *rand.Rand) {
	names := []string{"a", "b", "c"}
	rs := map[string]*replica{}
	for i, n := range names {
		peers := append(append([]string{}, names[:i]...), names[i+1:]...)
		rs[n] = newReplica(t, n, peers...)
	}
	knows := map[string]map[version]bool{}     // what a DC has applied
	causes := map[version]map[version]bool{}   // what a write had seen
	present := map[string]map[string]version{} // DC -> key -> its present version
	writes := map[version]struct {
		key   string
		stamp event.Stamp
	}{}
	conflicts := map[string]uint64{}
	for _, n := range names {
		knows[n], present[n] = map[version]bool{}, map[string]version{}
	}
	deliver := func(from, to string, most int) {
		frames := rs[from].next(rs[to])
		for _, f := range frames[:min(most, len(frames))] {
			frame, _, err := event.Open(f.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			for _, txn := range frame.Txns {
				v := version{from, txn.Revision}
				w := writes[v]
				if old, ok := present[to][w.key]; ok && !causes[v][old] && !causes[old][v] && old.origin != from {
					conflicts[to]++
				}
				old, ok := present[to][w.key]
				if !ok || event.Later(w.stamp, from, writes[old].stamp, old.origin) {
					present[to][w.key] = v
				}
				knows[to][v] = true
			}
			if err := rs[to].receive(f)[0]; err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 300 {
		n := names[rnd.IntN(3)]
		r := rs[n]
		if rnd.IntN(3) > 0 {
			r.now = r.now.Add(time.Duration(rnd.IntN(3)) * time.Millisecond)
			key := fmt.Sprintf("k%d", rnd.IntN(5))
			var c Commit
			if rnd.IntN(4) == 0 {
				c = r.del(key)
			} else {
				c = r.put(key, fmt.Sprint(rnd.IntN(1000)))
			}
			if c.Revision == 0 {
				continue // deleted nothing
			}
			v := version{n, c.Revision}
			seen := map[version]bool{}
			for x := range knows[n] {
				seen[x] = true
			}
			causes[v] = seen
			writes[v] = struct {
				key   string
				stamp event.Stamp
			}{key, c.Stamp}
			knows[n][v] = true
			present[n][key] = v
			continue
		}
		deliver(n, names[(rnd.IntN(2)+1+indexOf(names, n))%3], 1+rnd.IntN(5))
	}
	for _, from := range names {
		for _, to := range names {
			if from != to {
				deliver(from, to, 1<<30)
			}
		}
	}
	sameData(t, rs["a"], rs["b"], rs["c"])
	for _, n := range names {
		if _, total, err := rs[n].Conflicts(1); err != nil || total != conflicts[n] {
			t.Errorf("%s counted %d conflicts, its history has %d (%v)", n, total, conflicts[n], err)
		}
	}
}

func indexOf(names []string, n string) int {
	for i, x := range names {
		if x == n {
			return i
		}
	}
	return -1
}

// A datacenter without peers keeps neither frames nor tombstones; one that gets peers goes on with a chain
// that says where it begins.
func TestADatacenterAloneKeepsNothingForPeers(t *testing.T) {
	r := newReplica(t, "a")
	r.put("before", "v") // with peers in the topology
	r.queue.alone = true
	r.put("k", "v")
	r.del("k")
	if _, known := headOf(r, "k"); known {
		t.Error("a tombstone is kept")
	}
	if frames, err := r.Frames("a", 0, 1<<20); !errors.Is(err, store.ErrTrimmed) {
		t.Errorf("reading the chain from its beginning: %d frames, %v", len(frames), err)
	}
	if frames, err := r.Frames("a", r.Position("a").Revision, 1<<20); err != nil || len(frames) != 0 {
		t.Errorf("reading at the head: %d frames, %v", len(frames), err)
	}
	r.queue.alone = false
	at := r.Position("a")
	r.put("after", "v")
	frames, err := r.Frames("a", at.Revision, 1<<20)
	if err != nil || len(frames) != 1 {
		t.Fatalf("%d frames, %v", len(frames), err)
	}
	if step, err := at.Next(&frames[0]); err != nil || step != event.StepApply {
		t.Errorf("the new chain does not begin where the old one ended: %v", err)
	}
}
