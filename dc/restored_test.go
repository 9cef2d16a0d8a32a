package dc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
	"geogate/replication/event"
)

// restoredFrom starts a datacenter of one node from a backup.
func restoredFrom(t testing.TB, name, backup string, bump int64, peers ...string) *replica {
	t.Helper()
	dirs, _ := restoreTo(t, name, backup, 1, bump)
	r := reopen(t, dirs[0], name, peers...)
	r.LeaderChanged(1, 1, true)
	r.commitQueued()
	return r
}

// collect makes everybody forget the tombstones of what all of them have.
func collect(t testing.TB, all ...*replica) {
	t.Helper()
	for _, src := range all {
		for _, dst := range all {
			if src != dst {
				ship(t, src, dst)
			}
		}
	}
	for range 3 {
		for _, r := range all {
			r.confirm(all...)
		}
	}
}

// What was deleted after the backup, and forgotten by all, stays deleted; what was written stays.
func TestRestoreDoesNotResurrect(t *testing.T) {
	for _, bump := range []int64{0, 1000} {
		a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
		a.put("gone", "1")
		b.put("gone too", "1")
		a.put("stays", "1")
		a.put("again", "1")
		ship(t, a, b)
		ship(t, b, a)
		a.put("only in the backup", "1") // b has never had it
		backup := a.backUp(t)
		b.now = b.now.Add(time.Second)
		a.now = b.now
		b.del("gone")
		a.del("gone too")
		b.del("again")
		collect(t, a, b)
		b.now = b.now.Add(time.Second)
		b.put("again", "2")
		if _, known := headOf(b, "gone"); known {
			t.Fatal("the tombstone is still there")
		}
		again := restoredFrom(t, "a", backup, bump, "b")
		again.now = b.now
		if _, _, _, err := again.Export(t.Context(), nil, 0, 1<<20); !errors.Is(err, ErrRestored) || !strings.Contains(err.Error(), "b") {
			t.Fatalf("gave its state away before it heard of b: %v", err)
		}
		if _, err := again.KeyState([]byte("gone")); !errors.Is(err, ErrRestored) {
			t.Errorf("gave a key away: %v", err)
		}
		if again.Awaits("b") == "" {
			t.Error("does not wait for b")
		}
		again.put("new", "1")
		snapshot(t, b, again, 40, nil)
		if why := again.Awaits("b"); why != "" {
			t.Error(why)
		}
		snapshot(t, again, b, 1<<20, nil)
		ship(t, b, again)
		sameData(t, again, b)
		for key, want := range map[string]string{"gone": "", "gone too": "", "stays": "1", "again": "2", "only in the backup": "1", "new": "1"} {
			for _, r := range []*replica{again, b} {
				if got, _ := r.get(key); got != want {
					t.Errorf("bump %d: %s has %q at %q, want %q", bump, r.cfg.Name, got, key, want)
				}
			}
		}
		sameTable(t, again)
	}
}

// Who asks for it gets back what was deleted.
func TestRestoreThatAcceptsResurrection(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	a.put("gone", "1")
	ship(t, a, b)
	backup := a.backUp(t)
	b.now = b.now.Add(time.Second)
	b.del("gone")
	collect(t, a, b)
	dir := t.TempDir() + "/data"
	cfg := RestoreConfig{Backup: backup, Name: "a", Dir: dir, ClusterID: 1, NodeID: 1, Members: []uint64{1}, Resurrect: true}
	if _, err := RestoreBackup(cfg); err != nil {
		t.Fatal(err)
	}
	again := reopen(t, dir, "a", "b")
	again.LeaderChanged(1, 1, true)
	again.commitQueued()
	snapshot(t, again, b, 1<<20, nil)
	if _, ok := b.get("gone"); !ok {
		t.Error("the key did not come back")
	}
}

// When nobody else has any data, the backup counts, all of it.
func TestRestoreBesideEmptyDatacenters(t *testing.T) {
	a, b := newReplica(t, "a", "b", "c"), newReplica(t, "b", "a", "c")
	a.put("ka", "1")
	b.put("kb", "1")
	ship(t, b, a)
	ship(t, a, b)
	again := restoredFrom(t, "a", a.backUp(t), 1000, "b", "c")
	b, c := newReplica(t, "b", "a", "c"), newReplica(t, "c", "a", "b")
	snapshot(t, b, again, 1<<20, nil)
	if _, _, _, err := again.Export(t.Context(), nil, 0, 1); !errors.Is(err, ErrRestored) || strings.Contains(err.Error(), "with b") {
		t.Fatalf("c has not been heard: %v", err)
	}
	again = again.restart() // what was heard is kept
	snapshot(t, c, again, 1<<20, nil)
	snapshot(t, again, b, 1<<20, nil)
	snapshot(t, again, c, 1<<20, nil)
	for _, r := range []*replica{again, b, c} {
		for _, key := range []string{"ka", "kb"} {
			if v, _ := r.get(key); v != "1" {
				t.Errorf("%s lacks %s", r.cfg.Name, key)
			}
		}
	}
}

// A user who was deleted after the backup does not come back either.
func TestRestoreDoesNotResurrectSystemEntries(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	at := func(r *replica, f func(*store.Batch)) {
		bt, err := r.store.Begin()
		if err != nil {
			t.Fatal(err)
		}
		bt.NextTxn()
		f(bt)
		bt.Commit(r.store.Applied())
	}
	a.put("k", "1")
	a.put("k", "2")
	ship(t, a, b)
	for _, r := range []*replica{a, b} {
		at(r, func(bt *store.Batch) {
			bt.PutSystem("gone", []byte("x"), store.Geo{Origin: "a", OriginRevision: 2, Stamp: 1})
			bt.PutSystem("stays", []byte("x"), store.Geo{Origin: "a", OriginRevision: 2, Stamp: 1})
		})
	}
	backup := a.backUp(t)
	at(b, func(bt *store.Batch) {
		bt.DeleteSystem("gone", store.Geo{Origin: "a", OriginRevision: 2, Stamp: 2})
		bt.DropGraves(event.Vector{"a": 2}, 10)
	})
	again := restoredFrom(t, "a", backup, 1000, "b")
	snapshot(t, b, again, 1, nil)
	snapshot(t, again, b, 1<<20, nil)
	for _, r := range []*replica{again, b} {
		if n, _ := r.store.SystemEntries(); n != 1 {
			t.Errorf("%s has %d entries, want one", r.cfg.Name, n)
		}
	}
}

// Chunks of a build that does not say what it lacks, and a comparison that begins in the middle, prove nothing.
func TestComparisonMustBeWhole(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	for i := range 5 {
		a.put(fmt.Sprintf("k%d", i), "1")
	}
	ship(t, a, b)
	again := restoredFrom(t, "a", a.backUp(t), 1000, "b")
	marks, revision, high := b.Marks()
	for _, since := range []int64{revision, 0} {
		after, done := []byte("k2"), false
		for !done {
			var chunk []byte
			var err error
			if chunk, after, done, err = b.Export(t.Context(), after, since, 1<<20); err != nil {
				t.Fatal(err)
			}
			again.propose(kindMerge, chunk)
		}
		again.adoptFrom(b, marks, high)
		if again.Awaits("b") == "" {
			t.Fatalf("since %d: counted as whole", since)
		}
	}
	snapshot(t, b, again, 1<<20, nil)
	if why := again.Awaits("b"); why != "" {
		t.Error(why)
	}
}

// oneWrite is a write of which somebody may have heard.
type oneWrite struct {
	key, value string
	stamp      event.Stamp
	origin     string
	revision   int64
	deleted    bool
}

// recovery is a random life of three datacenters, of which a is lost and restored from a backup.
type recovery struct {
	t      *testing.T
	rng    *rand.Rand
	dcs    map[string]*replica
	stale  *replica // a as it was when it was lost: the others still count on what it had confirmed
	writes []oneWrite
	danger int
}

func (h *recovery) write(name string) {
	r := h.dcs[name]
	r.now = r.now.Add(time.Duration(h.rng.IntN(4)) * time.Millisecond)
	w := oneWrite{key: fmt.Sprintf("k%02d", h.rng.IntN(12)), origin: name}
	var c Commit
	if h.rng.IntN(2) == 0 {
		c, w.deleted = r.do(kindDelete, &pb.DeleteRangeRequest{Key: []byte(w.key)}).commit, true
	} else {
		w.value = fmt.Sprint(len(h.writes))
		c = r.put(w.key, w.value)
	}
	if w.stamp, w.revision = c.Stamp, c.Revision; c.Revision != 0 {
		h.writes = append(h.writes, w)
	}
}

// deliver ships some frames, if they lead on.
func (h *recovery) deliver(src, dst string) {
	s, d := h.dcs[src], h.dcs[dst]
	if own := d.state.positions[src].Incarnation; own != 0 && own != s.state.incarnation || s.state.restored != nil {
		return
	}
	frames, err := s.Frames(src, d.Position(src).Revision, 1<<20)
	if err != nil || len(frames) == 0 {
		return
	}
	for _, err := range d.receive(frames[:1+h.rng.IntN(len(frames))]...) {
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

// step is something that happens at some of the datacenters.
func (h *recovery) step(names ...string) {
	i := h.rng.IntN(len(names))
	src, dst := names[i], names[(i+1+h.rng.IntN(len(names)-1))%len(names)]
	switch n := h.rng.IntN(20); {
	case n < 9:
		h.write(src)
	case n < 16:
		h.deliver(src, dst)
	case n < 17:
		if err := h.dcs[src].store.Flush(); err != nil {
			h.t.Fatal(err)
		}
	case len(h.dcs[src].state.past) == 0: // else replication confirms nothing
		all := []*replica{h.dcs["a"], h.dcs["b"], h.dcs["c"]}
		if h.stale != nil {
			all[0] = h.stale
		}
		for range 2 {
			h.dcs[src].confirm(all...)
		}
	}
}

// lose drops the writes that only a had and that are not in the backup.
func (h *recovery) lose(backup event.Vector) {
	var kept []oneWrite
	for _, w := range h.writes {
		if w.revision <= backup[w.origin] || w.revision <= h.dcs["b"].Vector()[w.origin] || w.revision <= h.dcs["c"].Vector()[w.origin] {
			kept = append(kept, w)
		}
	}
	h.writes = kept
}

// check compares everything with the latest write of each key.
func (h *recovery) check() {
	latest := map[string]oneWrite{}
	for _, w := range h.writes {
		if old, ok := latest[w.key]; !ok || event.Later(w.stamp, w.origin, old.stamp, old.origin) {
			latest[w.key] = w
		}
	}
	for _, r := range h.dcs {
		for key, w := range latest {
			got, live := r.get(key)
			if live == w.deleted || got != w.value {
				h.t.Errorf("%s has %q (live %t) at %s, the latest write is %+v", r.cfg.Name, got, live, key, w)
			}
		}
	}
}

// endanger counts the keys of the backup that are nowhere else, and are deleted.
func (h *recovery) endanger() {
	for i := range 12 {
		key := fmt.Sprintf("k%02d", i)
		if _, live := h.dcs["a"].get(key); live {
			_, inB := headOf(h.dcs["b"], key)
			if _, inC := headOf(h.dcs["c"], key); !inB && !inC {
				h.danger++
			}
		}
	}
}

func (h *recovery) run() {
	for range 50 {
		h.step("a", "b", "c")
	}
	if h.rng.IntN(3) > 0 {
		collect(h.t, h.dcs["a"], h.dcs["b"], h.dcs["c"])
	}
	backup, vector := h.dcs["a"].backUp(h.t), h.dcs["a"].Vector()
	for range 40 {
		h.step("a", "b", "c")
	}
	if h.rng.IntN(3) > 0 {
		collect(h.t, h.dcs["a"], h.dcs["b"], h.dcs["c"])
	}
	h.lose(vector)
	h.stale = h.dcs["a"]
	bump := []int64{1000, 100_000}[h.rng.IntN(2)]
	now := h.stale.now
	h.dcs["a"] = restoredFrom(h.t, "a", backup, bump, "b", "c")
	h.dcs["a"].now = now.Add(time.Second)
	h.endanger()
	between := func(int) {
		for range h.rng.IntN(4) {
			h.step("a", "b", "c")
		}
	}
	order := []string{"b", "c"}
	h.rng.Shuffle(2, func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, peer := range order {
		between(0)
		snapshot(h.t, h.dcs[peer], h.dcs["a"], 1+h.rng.IntN(600), between)
		if h.rng.IntN(2) == 0 {
			h.dcs["a"] = h.dcs["a"].restart()
		}
	}
	h.settle()
}

// settle lets everybody take everything, and compares.
func (h *recovery) settle() {
	names := []string{"a", "b", "c"}
	for range 2 {
		for _, src := range names {
			for _, dst := range names {
				if src != dst {
					snapshot(h.t, h.dcs[src], h.dcs[dst], 1<<20, nil)
				}
			}
		}
	}
	sameData(h.t, h.dcs["a"], h.dcs["b"], h.dcs["c"])
	h.check()
	for _, r := range h.dcs {
		if scan := r.store.Check(); scan != nil {
			h.t.Error(scan)
		}
	}
}

// Whatever happened before and after a backup, and while the restored datacenter is compared with the others: what
// was deleted stays so, and nothing that anybody still had is lost.
func TestRestoreInRandomHistories(t *testing.T) {
	danger := 0
	for range 25 {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			h := &recovery{t: t, rng: rand.New(rand.NewPCG(seed, 9)), dcs: map[string]*replica{}}
			h.dcs["a"], h.dcs["b"], h.dcs["c"] = newReplica(t, "a", "b", "c"), newReplica(t, "b", "a", "c"), newReplica(t, "c", "a", "b")
			h.run()
			danger += h.danger
		})
	}
	if danger == 0 {
		t.Error("no key was ever in danger: the histories prove nothing")
	}
	t.Logf("%d keys were in danger", danger)
}
