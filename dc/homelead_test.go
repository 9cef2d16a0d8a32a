package dc

import (
	"testing"

	"geogate/replication/event"
	"geogate/replication/homes"
)

// A restored datacenter keeps what it knew of homes, is another life, and votes on nothing: neither on keyspaces of
// the backup nor on those that it never heard of, until it is admitted.
func TestARestoredDatacenterVotesOnNothing(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	v := failover(t, a, a, b, c)
	a.lock("k", "1")
	backup := a.backUp(t)
	a.lock("k", "2")
	again := restoredFrom(t, "a", backup, 1000, "b", "c")
	if x, ok := again.Register(locks); !ok || !x.State.Decided.Equal(v) || x.State.Lease.Duration != barredLease {
		t.Errorf("register is %+v", x)
	}
	if res := again.at(locks, kindPut, putRequest(locks+"k", "3")); res.err == nil {
		t.Error("it writes as if it were the home")
	}
	ballot := homes.Ballot{Round: 9, DC: "b"}
	for _, keyspace := range []string{locks, "/unheard/"} {
		known := homes.Value{}
		if keyspace == locks {
			known = v
		}
		c := homes.Command{Kind: homes.Prepare, Keyspace: keyspace, Known: known, Ballot: ballot}
		if r := again.register(c); r.Answer != homes.Barred {
			t.Errorf("%s: %+v", keyspace, r)
		}
		again.register(homes.Command{Kind: homes.Admit, Keyspace: keyspace, UpTo: known.Epoch})
		if r := again.register(c); r.Answer != homes.Promised {
			t.Errorf("%s, admitted: %+v", keyspace, r)
		}
	}
	if b.register(homes.Command{Kind: homes.Prepare, Keyspace: "/unheard/", Ballot: ballot}).Answer != homes.Promised {
		t.Error("a datacenter that is not restored doesn't vote")
	}
}

// Where frames of the tail went past retention, or came with a snapshot, its keys are found in the data.
func TestATailWithoutItsFramesIsTakenBack(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	a.lock("k", "1")
	a.lock("inner/k", "1")
	spread(t, dcs)
	a.lock("k", "2")
	a.lock("n", "2")
	a.put("free", "2")
	upTo := a.Position("a").Revision
	a.trimTo(upTo)
	if frames, err := a.Frames("a", upTo-1, 1); len(frames) > 1 || err == nil {
		t.Fatalf("%d frames are left, %v", len(frames), err)
	}
	v := failover(t, b, b, c)
	a.learn(v)
	if got := a.asides(); got != "k 1>2, n >2" {
		t.Errorf("set aside %s", got)
	}
	if got, _ := a.get(locks + "k"); got != "1" {
		t.Errorf("k is %q", got)
	}
	if got, _ := a.get("free"); got != "2" {
		t.Errorf("free is %q", got)
	}
}

// The longest prefix that has had a home is a key's keyspace.
func TestKeyspacesNest(t *testing.T) {
	r := newReplica(t, "a", "b")
	other := homes.Life{DC: "b", Incarnation: 7}
	for keyspace, home := range map[string]homes.Life{"": other, "/x/": r.Life(), "/x/y/": other} {
		r.register(homes.Command{Kind: homes.Learn, Keyspace: keyspace, Known: homes.Value{Epoch: 1, Home: home}})
	}
	r.register(homes.Command{Kind: homes.Drain, Keyspace: "/x/y/z/"}) // never had one
	for key, want := range map[string]string{"k": "", "/x/k": "/x/", "/x/y/k": "/x/y/", "/x/y/z/k": "/x/y/", "/x": ""} {
		if got := r.state.homes.of([]byte(key)); got == nil || got.keyspace != want {
			t.Errorf("%s is of %+v, want %q", key, got, want)
		}
	}
	if res := r.at("/x/", kindPut, putRequest("/x/k", "1")); res.err != nil {
		t.Error(res.err)
	}
	if res := r.at("", kindPut, putRequest("k", "1")); res.err == nil {
		t.Error("the keyspace of everything has another home")
	}
	if rs := r.Registers(); len(rs) != 4 || rs[0].Keyspace != "" || rs[3].Keyspace != "/x/y/z/" {
		t.Errorf("%+v", rs)
	}
}

// Frames behind one that waits are not put into the log.
func TestFramesBehindOneThatWaitsAreNotProposed(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	v := failover(t, a, a, b, c)
	b.register(homes.Command{Kind: homes.Prepare, Keyspace: locks, Known: v, Ballot: homes.Ballot{Round: 9, DC: "b"}})
	for _, x := range []string{"1", "2", "3"} {
		a.lock("k", x)
	}
	frames := a.next(b)
	if b.heldBack(&frames[2]) != nil {
		t.Error("held back before anything waited")
	}
	b.receive(frames[0])
	if b.heldBack(&frames[0]) != nil || b.heldBack(&frames[2]) == nil {
		t.Error("the first is to be proposed again, and only that")
	}
	if why := b.Held()["a"]; why == "" {
		t.Error("nothing says that a is held")
	}
	done, err := b.Propose(testContext(t), frames[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("proposed")
	}
	b.learn(failover(t, a, a, b, c))
	b.receive(frames...)
	if len(b.Held()) != 0 || b.heldBack(&event.Sealed{Origin: "a", PrevRevision: 99}) != nil {
		t.Error("still held")
	}
}

// The marks that are published are those that commands see.
func TestAppliedOf(t *testing.T) {
	dcs := threeDCs(t)
	a, b := dcs["a"], dcs["b"]
	c := a.put("k", "1")
	ship(t, a, b)
	for _, r := range []*replica{a, b} {
		if got := r.AppliedOf(a.Life()); got != c.Revision || got != r.marks()(a.Life()) {
			t.Errorf("%s: %d, want %d", r.cfg.Name, got, c.Revision)
		}
	}
	if a.AppliedOf(homes.Life{DC: "a", Incarnation: 1}) != 0 {
		t.Error("of another life")
	}
	b.cfg.Witness = true
	if b.marks() != nil {
		t.Error("a witness reports")
	}
}

// A replica that takes another one's state over has its registers, and what is set aside, and goes on alike.
func TestHomesInASnapshotOfTheGroup(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	v := tailOf(t, dcs)
	a.cfg.step = 1
	a.register(homes.Command{Kind: homes.Learn, Keyspace: locks, Known: v})
	if err := a.store.Flush(); err != nil {
		t.Fatal(err)
	}
	s, err := a.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	other := openReplica(t, Config{Name: "a", Peers: []string{"b", "c"}, Dir: t.TempDir(), step: 1})
	if err := other.Restore(s.Applied, s); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	other.index = s.Index
	x, _ := a.Register(locks)
	y, ok := other.Register(locks)
	if !ok || string(x.State.Encode()) != string(y.State.Encode()) || len(other.Overrunning()) == 0 || other.asides() != a.asides() {
		t.Fatalf("%+v, set aside %s; want %+v, %s", y, other.asides(), x, a.asides())
	}
	other.LeaderChanged(1, 1, true)
	for _, r := range []*replica{a, other} {
		for len(r.Overrunning()) > 0 {
			r.goOn()
		}
	}
	if other.asides() != a.asides() || a.asides() != asideOfTail {
		t.Errorf("set aside %s and %s", a.asides(), other.asides())
	}
	sameData(t, a, other)
	b.confirm(a, b, c)
}
