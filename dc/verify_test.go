package dc

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
	"geogate/replication/verify"
)

// plant changes the contents of a key behind the replica's back, under the same stamp; value nil removes it.
func (r *replica) plant(key string, value []byte) {
	r.t.Helper()
	b, err := r.store.Begin()
	if err != nil {
		r.t.Fatal(err)
	}
	h, _ := b.Head([]byte(key))
	b.NextTxn()
	if value == nil {
		b.Delete([]byte(key), h.Geo)
		b.DropGraves(map[string]int64{h.Geo.Origin: h.Geo.OriginRevision}, 1<<30)
	} else {
		b.Put([]byte(key), value, 0, h.Geo)
	}
	b.Commit(r.store.Applied())
}

// restart closes the replica and opens what is on its disk.
func (r *replica) restart() *replica {
	r.t.Helper()
	if err := r.store.Close(); err != nil {
		r.t.Fatal(err)
	}
	again := openReplica(r.t, r.cfg)
	again.publish(again.index)
	again.now = r.now
	again.LeaderChanged(1, 1, true)
	return again
}

func (r *replica) verifyState() *verify.State {
	r.t.Helper()
	s, err := r.VerifyState()
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// compare counts the outcomes over all buckets of two replicas, and lists those that differ.
func compare(a, b *replica) (equal, pending int, different []int) {
	sa, sb := a.verifyState(), b.verifyState()
	r := verify.Relate(&sa.Holding, &sb.Holding)
	for i := range sa.Digests {
		switch r.Bucket(sa, sb, i) {
		case verify.Equal:
			equal++
		case verify.Pending:
			pending++
		case verify.Different:
			different = append(different, i)
		}
	}
	return equal, pending, different
}

// keysOf compares the keys of a bucket.
func keysOf(t testing.TB, a, b *replica, bucket int) (different []string) {
	t.Helper()
	list := func(r *replica) (verify.Holding, map[string]verify.Copy) {
		keys := map[string]verify.Copy{}
		var first *verify.Holding
		for after, done := []byte(nil), false; !done; {
			h, page, end, err := r.VerifyKeys(bucket, after, 2)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = &h
			}
			for _, c := range page {
				keys[string(c.Key)], after = c, c.Key
			}
			done = end
		}
		return *first, keys
	}
	ha, ka := list(a)
	hb, kb := list(b)
	r := verify.Relate(&ha, &hb)
	for key := range merged(ka, kb) {
		x, y := ka[key], kb[key]
		if r.Key(&x, &y) == verify.Different {
			different = append(different, key)
		}
	}
	return different
}

func merged(a, b map[string]verify.Copy) map[string]bool {
	all := map[string]bool{}
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return all
}

// crowded are keys that share few buckets.
func crowded(buckets, each int) (keys []string) {
	count := map[int]int{}
	for i := 0; len(keys) < buckets*each; i++ {
		key := fmt.Sprintf("k%d", i)
		b := store.BucketOf([]byte(key))
		if b < buckets && count[b] < each {
			count[b]++
			keys = append(keys, key)
		}
	}
	return keys
}

// history is a random life of three datacenters.
type history struct {
	t       *testing.T
	rng     *rand.Rand
	names   []string
	dcs     map[string]*replica
	keys    []string
	disks   bool // whether disks get lost
	guarded int  // buckets that differed and were not comparable
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{t: t, rng: rand.New(rand.NewPCG(seed, 7)), names: []string{"a", "b", "c"}, dcs: map[string]*replica{}, keys: crowded(6, 5), disks: seed%2 == 1}
	for _, n := range h.names {
		h.dcs[n] = newReplica(t, n, h.others(n)...)
	}
	return h
}

func (h *history) others(name string) (out []string) {
	for _, n := range h.names {
		if n != name {
			out = append(out, n)
		}
	}
	return out
}

func (h *history) pick() *replica { return h.dcs[h.names[h.rng.IntN(3)]] }

func (h *history) pair() (src, dst *replica) {
	i := h.rng.IntN(3)
	return h.dcs[h.names[i]], h.dcs[h.names[(i+1+h.rng.IntN(2))%3]]
}

func (h *history) write(r *replica, key string) {
	r.now = r.now.Add(time.Duration(h.rng.IntN(4)) * time.Millisecond)
	if h.rng.IntN(3) == 0 {
		r.do(kindDelete, &pb.DeleteRangeRequest{Key: []byte(key)})
	} else {
		r.put(key, fmt.Sprint(h.rng.IntN(3)))
	}
}

// some delivers a few frames of src to dst, if they lead on from there.
func (h *history) some(src, dst *replica, most int) {
	if dst.state.positions[src.cfg.Name].Incarnation != src.state.incarnation && dst.state.positions[src.cfg.Name].Incarnation != 0 {
		return // of another life: a snapshot is needed
	}
	frames, err := src.Frames(src.cfg.Name, dst.Position(src.cfg.Name).Revision, 1<<20)
	if err != nil || len(frames) == 0 {
		return
	}
	dst.receive(frames[:min(len(frames), most)]...)
}

// step is something that happens, and what it was.
func (h *history) step() string {
	src, dst := h.pair()
	switch n := h.rng.IntN(100); {
	case n < 45:
		h.write(src, h.keys[h.rng.IntN(len(h.keys))])
		return "write"
	case n < 80:
		h.some(src, dst, 1+h.rng.IntN(3))
		return "frames"
	case n < 84:
		all := make([]*replica, 0, 3)
		for _, n := range h.names {
			all = append(all, h.dcs[n])
		}
		if h.oneHistory() {
			src.confirm(all...)
		}
		return "confirm"
	case n < 88:
		chunk, _, _, err := src.Export(h.t.Context(), []byte(h.keys[h.rng.IntN(len(h.keys))]), 0, 200)
		if err != nil {
			h.t.Fatal(err)
		}
		dst.propose(kindMerge, chunk) // of a snapshot that is never completed
		return "chunk"
	case n < 91:
		snapshot(h.t, src, dst, 200, func(int) { h.write(src, h.keys[h.rng.IntN(len(h.keys))]) })
		return "snapshot"
	case n < 94:
		if rev := dst.store.Revision(); rev > dst.store.Compacted() {
			dst.do(kindCompact, &pb.CompactionRequest{Revision: rev})
		}
		if err := dst.store.Flush(); err != nil {
			h.t.Fatal(err)
		}
		return "compact"
	case n < 99 || !h.disks:
		h.dcs[dst.cfg.Name] = dst.restart()
		return "restart"
	default:
		return h.rebuild(dst)
	}
}

// oneHistory is what replication asks for before it confirms anything: no lives that some know to have ended
// and others do not, and all vectors of the lives that are.
func (h *history) oneHistory() bool {
	for _, n := range h.names {
		for _, o := range h.names {
			if len(h.dcs[n].state.past) > 0 || h.dcs[n].state.positions[o].Incarnation != h.dcs[o].state.incarnation {
				return false
			}
		}
	}
	return true
}

// rebuild loses a datacenter's data; it takes the others' before anything else.
func (h *history) rebuild(r *replica) string {
	name := r.cfg.Name
	again := newReplica(h.t, name, h.others(name)...)
	again.now = r.now
	h.dcs[name] = again
	for _, o := range h.others(name) {
		snapshot(h.t, h.dcs[o], again, 1<<20, nil)
	}
	for _, o := range h.others(name) {
		snapshot(h.t, again, h.dcs[o], 1<<20, nil)
	}
	return "rebuild"
}

func (h *history) check(seed uint64, i int, what string) {
	h.t.Helper()
	for x, n := range h.names {
		for _, o := range h.names[x+1:] {
			_, pending, different := compare(h.dcs[n], h.dcs[o])
			h.guarded += pending
			if len(different) == 0 {
				continue
			}
			h.t.Fatalf("seed %d, step %d (%s): false alarm between %s and %s: buckets %v, keys %q\n%+v\n%+v", seed, i, what, n, o, different,
				keysOf(h.t, h.dcs[n], h.dcs[o], different[0]), h.dcs[n].state, h.dcs[o].state)
		}
	}
}

// TestVerifyNeverCriesWolf compares three datacenters after each step of random histories: writes that race
// and lose, frames in any order between origins, snapshots begun and completed, restarts, compaction,
// collected tombstones, lost disks. They differ nearly always; none of it may count as damage.
func TestVerifyNeverCriesWolf(t *testing.T) {
	guarded, different := 0, 0
	for seed := range uint64(10) {
		h := newHistory(t, seed)
		for i := range 150 {
			what := h.step()
			h.check(seed, i, what)
		}
		guarded += h.guarded
		if n := h.findPlanted(seed); n > 0 {
			different += n
		}
	}
	t.Logf("%d buckets differed on their way, %d were planted", guarded, different)
	if guarded < 1000 || different < 5 {
		t.Errorf("%d buckets differed on their way and %d were planted: the histories are too tame", guarded, different)
	}
}

// settle gives everyone everything, by snapshots: they lead there from anywhere.
func (h *history) settle() {
	h.t.Helper()
	for range 10 {
		var holds []string
		for _, n := range h.names {
			_, v := h.dcs[n].Digest()
			holds = append(holds, fmt.Sprint(v))
		}
		if holds[0] == holds[1] && holds[1] == holds[2] {
			return
		}
		for _, n := range h.names {
			for _, o := range h.others(n) {
				snapshot(h.t, h.dcs[n], h.dcs[o], 1<<20, nil)
			}
		}
	}
	h.t.Fatal("the datacenters do not end with the same data")
}

// findPlanted makes a key different in one datacenter, goes on writing to other buckets everywhere, and wants
// that key, and no other, to be found by both others.
func (h *history) findPlanted(seed uint64) int {
	h.t.Helper()
	h.settle()
	victim := h.pick()
	victim.now = victim.now.Add(time.Second)
	key := h.keys[h.rng.IntN(len(h.keys))]
	victim.put(key, "right")
	h.settle()
	for _, o := range h.others(victim.cfg.Name) {
		a, b := victim.verifyState(), h.dcs[o].verifyState()
		if r := verify.Relate(&a.Holding, &b.Holding); !r.Lives() {
			return 0 // a snapshot reached into a life that ended twice over: only equality can be shown
		}
	}
	if h.rng.IntN(2) == 0 {
		victim.plant(key, []byte("wrong"))
	} else {
		victim.plant(key, nil)
	}
	if h.rng.IntN(2) == 0 {
		victim = victim.restart()
		h.dcs[victim.cfg.Name] = victim
	}
	if len(victim.state.past) == 0 {
		for _, n := range h.names {
			for range 5 {
				h.write(h.dcs[n], fmt.Sprintf("other%d", h.rng.IntN(1000)))
			}
		}
	}
	for _, o := range h.others(victim.cfg.Name) {
		_, _, different := compare(victim, h.dcs[o])
		if len(different) != 1 || different[0] != store.BucketOf([]byte(key)) {
			h.t.Fatalf("seed %d: %q was changed in %s; found in comparison with %s: %v\n%+v\n%+v", seed, key, victim.cfg.Name, o, different, victim.state, h.dcs[o].state)
		}
		if keys := keysOf(h.t, victim, h.dcs[o], different[0]); len(keys) != 1 || keys[0] != key {
			h.t.Fatalf("seed %d: %q was changed, found %q", seed, key, keys)
		}
	}
	return 1
}

// TestRepair mends a copy that is wrong in one datacenter, and leaves a key alone that was written since.
func TestRepair(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	for _, key := range []string{"rotten", "missing", "extra", "moved"} {
		a.put(key, "right")
	}
	a.del("extra")
	ship(t, a, b)
	b.plant("rotten", []byte("wrong"))
	b.plant("missing", nil)
	b.plant("extra", []byte("from nowhere"))
	b.plant("moved", []byte("wrong"))

	mend := func(key string) result {
		t.Helper()
		seen := verify.Copy{Key: []byte(key)}
		if h, known := b.head(key); known {
			seen = verify.Copy{Key: []byte(key), Known: true, Live: h.Live, Origin: h.Geo.Origin, Revision: h.Geo.OriginRevision, Stamp: h.Geo.Stamp}
		}
		chunk, err := a.KeyState([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		r, err := b.newRepair(seen, chunk)
		if err != nil {
			t.Fatal(err)
		}
		if key == "moved" {
			b.put("moved", "later") // between the comparison and the repair
		}
		p, err := b.queue.add(item{kind: kindRepair, payload: r.marshal()})
		if err != nil {
			t.Fatal(err)
		}
		b.commitQueued()
		return <-p.done
	}
	before := b.Position("b").Revision
	for _, key := range []string{"rotten", "missing", "extra", "rotten"} {
		if res := mend(key); res.err != nil || res.commit.Revision == 0 {
			t.Errorf("%s: %+v", key, res)
		}
	}
	if got := b.Position("b").Revision; got != before {
		t.Errorf("repairs made frames up to %d, behind %d", got, before)
	}
	if res := mend("moved"); res.err != nil || res.commit.Revision != 0 {
		t.Errorf("a key that was written since: %+v", res)
	}
	ship(t, b, a)
	sameData(t, a, b)
	if v, _ := b.get("rotten"); v != "right" {
		t.Errorf("the rotten key is %q", v)
	}
	if v, _ := b.get("moved"); v != "later" {
		t.Errorf("the key that was written since is %q", v)
	}
	if err := b.store.Check(); err != nil {
		t.Error(err)
	}
}

func (r *replica) head(key string) (store.Head, bool) {
	b, err := r.store.Begin()
	if err != nil {
		r.t.Fatal(err)
	}
	defer b.Commit(r.store.Applied())
	return b.Head([]byte(key))
}

// TestRepairMakesReplicasAgree gives the same log to a replica whose disk went wrong and to one whose did not.
func TestRepairMakesReplicasAgree(t *testing.T) {
	origin := newReplica(t, "a", "b")
	good, bad := newReplica(t, "b", "a"), newReplica(t, "b", "a")
	origin.put("lost", "1")
	origin.put("lost", "2")
	origin.put("rotten", "1")
	origin.put("gone", "1")
	origin.del("gone")
	ship(t, origin, good)
	ship(t, origin, bad)
	bad.plant("rotten", []byte("wrong"))
	bad.plant("gone", []byte("back again"))
	bad.plant("lost", nil)
	good.put("x", "1")
	good.put("x", "2")
	good.put("x", "3") // planting took revisions on the other one
	for _, key := range []string{"rotten", "gone", "lost"} {
		seen := verify.Copy{Key: []byte(key)}
		if h, known := bad.head(key); known {
			seen = verify.Copy{Key: []byte(key), Known: true, Live: h.Live, Origin: h.Geo.Origin, Revision: h.Geo.OriginRevision, Stamp: h.Geo.Stamp}
		}
		chunk, err := origin.KeyState([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		r, err := bad.newRepair(seen, chunk)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []*replica{good, bad} {
			x.propose(kindRepair, r.marshal())
		}
		if good.store.Revision() != bad.store.Revision() {
			t.Fatalf("%s: revisions %d and %d", key, good.store.Revision(), bad.store.Revision())
		}
		g, _ := good.head(key)
		b, _ := bad.head(key)
		if g.Live != b.Live || g.Live && fmt.Sprint(g) != fmt.Sprint(b) {
			t.Errorf("%s: %+v and %+v", key, g, b)
		}
	}
}
