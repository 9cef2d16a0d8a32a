package dc

import (
	"errors"
	"testing"

	"geogate/dc/lease"
)

func (r *replica) leaseOf(id int64) (lease.Lease, bool) { return r.leases.table.Get(id) }

// The next home grants the leases of the keys again, with their whole length, and deletes the keys when they end.
func TestTheNextHomeTakesLeasesOver(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	a.grant(7, 300)
	a.grant(8, 300)
	for _, k := range []string{"one", "two"} {
		if res := a.at(locks, kindPut, leased(locks+k, 7)); res.err != nil {
			t.Fatal(res.err)
		}
	}
	a.must(kindPut, leased("free", 7))
	a.must(kindPut, leased("free too", 8))
	spread(t, dcs)
	if got := b.keysOf(7); got != "" {
		t.Errorf("b has keys %q of a lease of a", got)
	}
	v := failover(t, b, b, c)
	a.learn(v)
	if x, ok := b.leaseOf(7); !ok || x.TTL != 300 {
		t.Fatalf("the lease at b is %+v, %t", x, ok)
	}
	if _, ok := b.leaseOf(8); ok {
		t.Error("b has granted a lease of keys that it is not home of")
	}
	if got := b.keysOf(7); got != locks+"one "+locks+"two" {
		t.Errorf("at b lease 7 has keys %q", got)
	}
	if got := a.keysOf(7); got != "free" {
		t.Errorf("at a lease 7 has keys %q", got)
	}
	// At a it ends without them; at b with them.
	if res := a.revoke(7); res.err != nil {
		t.Fatal(res.err)
	}
	if _, ok := a.get(locks + "one"); !ok {
		t.Error("a has deleted a key that it is not home of")
	}
	if _, ok := a.get("free"); ok {
		t.Error("a has not deleted its own key")
	}
	// A put that keeps the lease keeps it.
	keep := putRequest(locks+"two", "v2")
	keep.IgnoreLease = true
	if res := b.at(locks, kindPut, keep); res.err != nil {
		t.Fatal(res.err)
	}
	res := b.revoke(7)
	if res.err != nil || res.commit.Keyspace != locks || res.commit.Epoch != 2 {
		t.Errorf("%+v, %v", res.commit, res.err)
	}
	spread(t, dcs)
	sameData(t, a, b, c)
	for _, k := range []string{"one", "two"} {
		if _, ok := a.get(locks + k); ok {
			t.Errorf("%s is still there", k)
		}
	}
}

// While it isn't known who is the home of its keys, a lease doesn't end.
func TestALeaseWaitsForAMove(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	v := failover(t, a, a, b, c)
	a.grant(7, 300)
	if res := a.at(locks, kindPut, leased(locks+"k", 7)); res.err != nil {
		t.Fatal(res.err)
	}
	spread(t, dcs)
	a.register(drain(v))
	if res := a.revoke(7); !errors.Is(res.err, ErrNotHome) {
		t.Fatalf("revoked while it is handed over: %v", res.err)
	}
	if _, ok := a.leaseOf(7); !ok {
		t.Fatal("the lease is gone")
	}
	failover(t, b, a, b, c)
	if res := a.revoke(7); res.err != nil {
		t.Error(res.err)
	}
	spread(t, dcs)
	sameData(t, a, b, c)
	if _, ok := b.get(locks + "k"); !ok {
		t.Error("the key is gone although b has its lease")
	}
	// Without a TTL that is known, a minute. After a restart, too.
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	again := openReplica(t, b.cfg)
	if x, ok := again.leaseOf(7); !ok || x.TTL != 300 || again.keysOf(7) != locks+"k" {
		t.Errorf("after a restart %+v %t %q", x, ok, again.keysOf(7))
	}
}

// The lengths of leases that no key names any more are forgotten.
func TestLengthsOfLeasesAreBounded(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	for i := range int64(ttlSlack + 500) {
		a.grant(i+1, 300)
		if res := a.at(locks, kindPut, leased(locks+"k", i+1)); res.err != nil {
			t.Fatal(res.err)
		}
	}
	ship(t, a, b)
	if n := b.state.homes.ttls; n > ttlSlack+10 {
		t.Errorf("%d are kept", n)
	}
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	if again := openReplica(t, b.cfg); again.state.homes.ttls != b.state.homes.ttls {
		t.Errorf("%d after a restart, %d before", again.state.homes.ttls, b.state.homes.ttls)
	}
}
