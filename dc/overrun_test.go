package dc

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"geogate/dc/store"
	"geogate/replication/homes"
)

// tailOf makes a the home, lets all have some data, and then a write what only it has; b is decided without it. The
// clock of b is behind, so that its stamps are earlier than those of the tail.
func tailOf(t *testing.T, dcs map[string]*replica) homes.Value {
	t.Helper()
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	a.lock("both", "1")
	a.lock("gone", "1")
	a.lock("graved", "0")
	a.unlock("graved")
	a.put("free", "0")
	spread(t, dcs)
	for _, r := range dcs {
		r.confirm(a, b, c)
	}
	a.now = a.now.Add(time.Hour)
	a.lock("both", "2")
	a.lock("both", "3")
	a.unlock("gone")
	a.lock("graved", "4")
	a.lock("new", "5")
	a.unlock("new")
	a.lock("new", "6")
	a.put("free", "7")
	return failover(t, b, b, c)
}

const asideOfTail = "both 1>2, both 2>3, gone 1>x, graved >4, new >5, new 5>x, new >6"

func TestTheOldHomeTakesItsTailBack(t *testing.T) {
	for _, compacted := range []bool{false, true} {
		dcs := threeDCs(t)
		a, b, c := dcs["a"], dcs["b"], dcs["c"]
		v := tailOf(t, dcs)
		if compacted {
			if res := a.do(kindCompact, &pb.CompactionRequest{Revision: a.Revision()}); res.err != nil {
				t.Fatal(res.err)
			}
			for range 3 {
				if err := a.store.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		grave, _ := stateOfKey(c, locks+"graved") // as those have it that never applied the tail
		b.lock("graved", "new home")              // its stamp is earlier than that of the tail
		b.lock("new", "new home")
		revision := a.Revision()
		a.learn(v)
		if got, want := a.asides(), asideOfTail; got != want {
			t.Errorf("compacted %t: set aside %s, want %s", compacted, got, want)
		}
		if got, _ := stateOfKey(a, locks+"graved"); got.Geo.Stamp != grave.Geo.Stamp || got.Geo.OriginRevision != grave.Geo.OriginRevision || got.Live || grave.Live {
			t.Errorf("compacted %t: the grave is %+v, elsewhere %+v", compacted, got, grave)
		}
		if a.Revision() == revision {
			t.Error("nothing was written again")
		}
		for key, want := range map[string]string{"both": "1", "gone": "1", "graved": "", "new": ""} {
			if got, _ := a.get(locks + key); got != want {
				t.Errorf("compacted %t: %s is %q after it was taken back, want %q", compacted, key, got, want)
			}
		}
		spread(t, dcs)
		sameData(t, a, b, c)
		for key, want := range map[string]string{"both": "1", "gone": "1", "graved": "new home", "new": "new home"} {
			for _, r := range dcs {
				if got, _ := r.get(locks + key); got != want {
					t.Errorf("%s has %s = %q, want %q", r.cfg.Name, key, got, want)
				}
			}
		}
		for _, r := range dcs {
			if got, _ := r.get("free"); got != "7" {
				t.Errorf("%s has free = %q: that keyspace did not move", r.cfg.Name, got)
			}
		}
		// Those that received the tail later kept it, too, and applied none of it.
		if got := c.asides(); strings.Count(got, ",") != strings.Count(asideOfTail, ",") || !strings.Contains(got, "both 1>3") {
			t.Errorf("c has set aside %s", got)
		}
		sameTable(t, a)
	}
}

// A datacenter that had applied the tail before it heard of the decision takes it back like the home itself.
func TestADatacenterThatWasNotAskedTakesTheTailBack(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	a.lock("k", "1")
	spread(t, dcs)
	a.lock("k", "2")
	a.lock("n", "2")
	v1, _ := b.Register(locks)
	ship(t, a, c) // only c has it, and c is not asked
	cfg := v1.State.Decided
	v := homes.Value{Epoch: 2, Home: b.Life(), Past: []homes.Tenure{{Epoch: 1, Home: a.Life(), Cut: b.AppliedOf(a.Life())}}}
	if cfg.Epoch != 1 {
		t.Fatal(cfg)
	}
	b.learn(v)
	_ = relay(t, a, b, "a")
	d1, v1b := b.Digest()
	if d2, v2 := c.Digest(); d1 == d2 || fmt.Sprint(v1b) == fmt.Sprint(v2) {
		t.Errorf("before c has learnt: digests %x and %x of %v and %v", d1, d2, v1b, v2)
	}
	b.lock("k", "3")
	if err := relay(t, b, c, "b"); err == nil {
		t.Error("c took a write of an epoch that it doesn't know")
	}
	c.learn(v)
	a.learn(v)
	spread(t, dcs)
	sameData(t, a, b, c)
	if a.asides() != "k 1>2, n >2" || c.asides() != "k 1>2, n >2" {
		t.Errorf("a set aside %s, c %s", a.asides(), c.asides())
	}
}

// A tail of many keys is taken back in steps, over a restart, and until it is done nothing newer is applied.
func TestALongTailIsTakenBackInSteps(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	spread(t, dcs)
	const keys = 2*stepKeys + 10
	for i := range keys {
		a.lock(fmt.Sprint(i), "1")
	}
	v := failover(t, b, b, c)
	b.lock("0", "2")
	a.register(homes.Command{Kind: homes.Learn, Keyspace: locks, Known: v})
	if len(a.Overrunning()) == 0 {
		t.Fatal("all of it in one entry")
	}
	if err := relay(t, b, a, "b"); err == nil {
		t.Error("a newer write was applied before the tail was taken back")
	}
	for _, r := range []*replica{b, c} { // they set it aside, so all have confirmed it
		if err := relay(t, a, r, "a"); err != nil {
			t.Fatal(err)
		}
	}
	a.confirm(a, b, c)
	// Were a the home again now, it could not write before it is done.
	next := homes.Value{Epoch: 3, Home: a.Life(), Past: append(v.Past[:1:1], homes.Tenure{Epoch: 2, Home: b.Life(), Cut: a.AppliedOf(b.Life())})}
	a.register(homes.Command{Kind: homes.Learn, Keyspace: locks, Known: next})
	if res := a.at(locks, kindPut, putRequest(locks+"0", "3")); !errors.Is(res.err, ErrNotHome) || len(a.Overrunning()) == 0 {
		t.Errorf("a write before all is taken back: %v", res.err)
	}
	for _, r := range []*replica{b, c} {
		r.learn(next)
	}
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	again := openReplica(t, a.cfg)
	again.LeaderChanged(1, 1, true)
	dcs["a"] = again
	steps := 0
	for ; len(again.Overrunning()) > 0; steps++ {
		again.goOn()
	}
	if steps < 2 {
		t.Errorf("%d steps", steps)
	}
	spread(t, dcs)
	sameData(t, again, b, c)
	if n := again.state.homes.aside.writes; n != keys+1 { // and that of b, which a has not had
		t.Errorf("%d writes are set aside, want %d", n, keys+1)
	}
}

// When there is no room to set writes aside, chains and what is taken back wait; nothing is dropped.
func TestAFullAsideHolds(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	for i := range 5 {
		a.lock(fmt.Sprint(i), strings.Repeat("v", 100))
	}
	v := failover(t, b, b, c)
	for _, r := range dcs {
		r.cfg.aside = 400
	}
	a.register(homes.Command{Kind: homes.Learn, Keyspace: locks, Known: v})
	_ = relay(t, a, b, "a")
	at := b.Position("a").Revision
	if len(a.Overrunning()) == 0 || at == a.Position("a").Revision {
		t.Fatal("nothing waits")
	}
	seen := map[string]int{}
	for range 20 {
		for _, r := range []*replica{a, b} {
			ws, err := r.Aside(locks, 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			var ids []uint64
			for _, w := range ws {
				seen[r.cfg.Name+string(w.Key)]++
				ids = append(ids, w.ID)
			}
			note := mustMarshal(homeNote{Keyspace: locks, Discard: ids})
			p, err := r.queue.add(item{kind: kindHome, note: note})
			if err != nil {
				t.Fatal(err)
			}
			r.commitQueued()
			<-p.done
		}
		_ = relay(t, a, b, "a")
	}
	if len(seen) != 10 {
		t.Errorf("saw %v", seen)
	}
	for k, n := range seen {
		if n != 1 {
			t.Errorf("%s was listed %d times", k, n)
		}
	}
	spread(t, dcs)
	for range 20 {
		_ = relay(t, a, b, "a")
	}
	c.cfg.aside = 0
	spread(t, dcs)
	sameData(t, a, b, c)
}

// An operator's --force against a decision that it didn't know: the forced one wins, and what the other side had set
// aside counts again where it does by the forced value.
func TestForceBringsBackWhatCounts(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	a.lock("k", "1")
	spread(t, dcs)
	a.lock("k", "2")
	ship(t, a, c) // c has it
	x, _ := c.Register(locks)
	cmd, err := homes.Forced(x.State.Decided, c.Life(), c.AppliedOf)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Keyspace = locks
	// b's side decides without it: k=2 doesn't count there, nor does what a had.
	v := homes.Value{Epoch: 2, Home: b.Life(), Past: []homes.Tenure{{Epoch: 1, Home: a.Life(), Cut: b.AppliedOf(a.Life())}}}
	b.learn(v)
	a.learn(v)
	_ = relay(t, a, b, "a") // set aside
	b.lock("k", "b")
	b.lock("only b", "b")
	_ = relay(t, b, a, "b")
	if got := b.asides(); got != "k 1>2" {
		t.Fatalf("b set aside %s", got)
	}
	c.register(cmd)
	c.lock("k", "c")
	for _, r := range []*replica{a, b} {
		r.learn(cmd.Known)
	}
	spread(t, dcs)
	sameData(t, a, b, c)
	for _, r := range dcs {
		if got, _ := r.get(locks + "k"); got != "c" {
			t.Errorf("%s has %q", r.cfg.Name, got)
		}
		if _, ok := r.get(locks + "only b"); ok {
			t.Errorf("%s has what was written at the side that lost", r.cfg.Name)
		}
	}
	if got := b.asides(); !strings.Contains(got, "only b >b") || strings.Contains(got, "1>2") {
		t.Errorf("b has set aside %s", got)
	}
}

// A request that was set aside is applied when it is repeated at a home; elsewhere it isn't answered as if it counted.
func TestARequestThatWasSetAsideIsAppliedAnew(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	spread(t, dcs)
	put := func(r *replica) result {
		payload, _ := proto.Marshal(putRequest(locks+"k", "1"))
		it, _ := item{kind: kindPut, payload: payload, keyspace: []byte(locks)}.withID("order-1")
		p, err := r.queue.add(it)
		if err != nil {
			t.Fatal(err)
		}
		r.commitQueued()
		return <-p.done
	}
	if res := put(a); res.err != nil {
		t.Fatal(res.err)
	}
	v := failover(t, b, b, c)
	a.learn(v)
	if res := put(a); res.err == nil {
		t.Errorf("a answered %+v", res.commit)
	}
	if res := put(b); res.err != nil || res.commit.Repeated {
		t.Errorf("b answered %+v, %v", res.commit, res.err)
	}
	spread(t, dcs)
	a.learn(failover(t, a, a, b, c))
	spread(t, dcs)
	sameData(t, a, b, c)
	if err := a.store.Flush(); err != nil {
		t.Fatal(err)
	}
	sameTable(t, a)
}

// What a verification sees while datacenters don't agree on the home is nothing to repair.
func TestVerifyWaitsForDecisions(t *testing.T) {
	dcs := threeDCs(t)
	a, b := dcs["a"], dcs["b"]
	v := tailOf(t, dcs)
	_ = relay(t, a, b, "a")
	if differ(a, b) {
		t.Error("called different before a has learnt")
	}
	a.learn(v)
	spread(t, dcs)
	sameData(t, a, b)
	if differ(a, b) {
		t.Error("called different although they are equal")
	}
	// A difference is still found.
	b.store.Flush() //nolint:errcheck // the test's own
	b.corrupt(locks + "both")
	if !differ(a, b) {
		t.Error("a difference was not found")
	}
}

// corrupt changes a key behind everyone's back.
func (r *replica) corrupt(key string) {
	r.t.Helper()
	batch, err := r.store.Begin()
	if err != nil {
		r.t.Fatal(err)
	}
	h, _ := batch.Head([]byte(key))
	batch.Replace(&store.Version{Key: []byte(key), Value: []byte("rot"), Geo: h.Geo, Create: h.Create, Version: h.Version})
	r.index++
	batch.Commit(store.Applied{Index: r.index, Term: 1})
	r.publish(r.index)
}

// differ says whether a comparison calls anything different.
func differ(a, b *replica) bool {
	_, _, different := compare(a, b)
	return len(different) > 0
}

func stateOfKey(r *replica, key string) (store.Head, bool) {
	b, err := r.store.Begin()
	if err != nil {
		r.t.Fatal(err)
	}
	h, ok := b.Head([]byte(key))
	b.Commit(r.store.Applied())
	return h, ok
}

// A home that lost its data begins another life. What it had written before is not of that life's tail, wherever the
// revisions of that lie.
func TestTheTailOfALaterLifeLeavesTheEarlierAlone(t *testing.T) {
	dcs := reborn(t, 40)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	a.lock("new", "1")
	spread(t, dcs)
	for i := range 20 {
		a.lock(fmt.Sprint("tail", i), "1")
	}
	a.trimTo(a.Position("a").Revision - 1) // so its keys are looked for
	v := failover(t, b, b, c)
	a.learn(v)
	spread(t, dcs)
	for i := range 40 {
		for _, r := range dcs {
			if got, _ := r.get(locks + fmt.Sprint(i)); got != "1" {
				t.Errorf("%s has %d = %q", r.cfg.Name, i, got)
			}
		}
	}
	if got := strings.Count(a.asides(), ">"); got != 20 {
		t.Errorf("%d writes are set aside: %s", got, a.asides())
	}
}
