package dc

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication/homes"
)

// multi puts down the multi-writer keyspaces within single-writer ones.
func (r *replica) multi(prefixes ...string) {
	r.t.Helper()
	p, err := r.queue.add(item{kind: kindHome, note: encodeMulti(prefixes)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.commitQueued()
	if res := <-p.done; res.err != nil {
		r.t.Fatal(res.err)
	}
}

// A key of a multi-writer keyspace within a single-writer one ends with the lease of the datacenter that wrote it,
// wherever the home is.
func TestLeasesInANestedKeyspace(t *testing.T) {
	r := newReplica(t, "a", "b")
	other := homes.Life{DC: "b", Incarnation: 7}
	r.multi(locks + "cache/")
	r.register(homes.Command{Kind: homes.Learn, Keyspace: locks, Known: homes.Value{Epoch: 1, Home: other}})
	r.grant(5, 60)
	for _, key := range []string{locks + "cache/k", "free"} {
		if res := r.do(kindPut, &pb.PutRequest{Key: []byte(key), Value: []byte("v"), Lease: 5}); res.err != nil {
			t.Fatal(res.err)
		}
	}
	if got := fmt.Sprintf("%s", r.LeaseKeys(5)); got != "["+locks+"cache/k free]" {
		t.Errorf("keys of the lease: %s", got)
	}
	if res := r.revoke(5); res.err != nil {
		t.Fatal(res.err)
	}
	for _, key := range []string{locks + "cache/k", "free"} {
		if got, there := r.get(key); there {
			t.Errorf("%s is %q after its lease has ended", key, got)
		}
	}
}

func TestNestedKeyspaces(t *testing.T) {
	r := newReplica(t, "a", "b")
	for keyspace, home := range map[string]homes.Life{"": {DC: "b", Incarnation: 7}, "/x/y/": r.Life()} {
		r.register(homes.Command{Kind: homes.Learn, Keyspace: keyspace, Known: homes.Value{Epoch: 1, Home: home}})
	}
	check := func(when string, want map[string]string) {
		t.Helper()
		for key, keyspace := range want {
			got := "none"
			if x := r.state.homes.of([]byte(key)); x != nil {
				got = x.keyspace
			}
			_, single := r.published.Load().homeOf([]byte(key))
			if got != keyspace || single != (keyspace != "none") {
				t.Errorf("%s: %q is of %q, single-writer %t; want %q", when, key, got, single, keyspace)
			}
		}
	}
	r.multi("/x/", "/x/y/z/", "/x/")
	want := map[string]string{"k": "", "/x": "", "/x/k": "none", "/x/y/k": "/x/y/", "/x/y/z/k": "none"}
	check("told", want)
	again := newHomeTable()
	if err := again.load(r.store, 0); err != nil {
		t.Fatal(err)
	}
	r.state.homes.multi = nil
	if err := r.loadHomes(); err != nil {
		t.Fatal(err)
	}
	check("loaded", want)
	r.multi()
	check("no more", map[string]string{"/x/k": "", "/x/y/z/k": "/x/y/"})
	if _, err := decodeMulti([]byte(`{"discard":[1]}`)); err == nil {
		t.Error("another note was read as prefixes")
	}
	if _, err := (&applier{dc: r.DC}).home(&item{kind: kindHome, note: []byte("M{")}); !errors.Is(err, ErrMalformed) {
		t.Errorf("what can't be read: %v", err)
	}
}

// Where frames of a tail are gone, keys are looked for by their prefix: those of a nested keyspace are not taken back.
func TestNestedKeyspaceIsNotTakenBack(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	for _, r := range dcs {
		r.multi(locks + "cache/")
	}
	failover(t, a, a, b, c)
	a.lock("k", "1")
	spread(t, dcs)
	for _, r := range dcs {
		r.confirm(a, b, c)
	}
	a.lock("k", "2")
	a.put(locks+"cache/k", "2")
	v := failover(t, b, b, c)
	a.state.dropped = map[string]int64{"a": a.Position("a").Revision} // as when they are past retention
	a.learn(v)
	if got := a.asides(); got != "k 1>2" {
		t.Errorf("set aside %s", got)
	}
	if got, _ := a.get(locks + "cache/k"); got != "2" {
		t.Errorf("a key of the nested keyspace is %q", got)
	}
}

// The leader puts down what its configuration says, and the other nodes know it.
func TestLeaderTellsOfNestedKeyspaces(t *testing.T) {
	g := newGroupIn(t, Config{Name: "a", Peers: []string{"b"}, MultiWriter: []string{"/b/", "/a/", "/b/"}}, []string{t.TempDir(), t.TempDir(), t.TempDir()})
	for _, m := range g.members {
		deadline := time.After(30 * time.Second)
		for changed := m.Changed(); strings.Join(m.published.Load().multi, " ") != "/a/ /b/"; changed = m.Changed() {
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("it knows %v", m.published.Load().multi)
			}
		}
	}
}
