package dc

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/consensus"
	"geogate/dc/lease"
)

// lead makes a replica lead in a term and runs its lessor, with a log that commits at once, until stop.
func (r *replica) lead(term uint64) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	r.LeaderChanged(term, 1, true)
	var wg sync.WaitGroup
	wg.Go(func() { r.runLessor(ctx) })
	wg.Go(func() {
		for {
			select {
			case <-r.queue.waiting:
				r.commitQueued()
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
		r.LeaderChanged(term+1, 2, false)
	}
}

// leadFor leads for a while.
func (r *replica) leadFor(term uint64, d time.Duration) {
	stop := r.lead(term)
	time.Sleep(d)
	synctest.Wait()
	stop()
}

func (r *replica) has(key string) bool {
	_, ok := r.get(key)
	return ok
}

func TestLeasesExpireAtTheLeaderOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, "a")
		r.grant(7, 5)
		r.must(kindPut, leased("k", 7))
		r.LeaderChanged(1, 2, false)
		time.Sleep(time.Hour)
		if !r.has("k") {
			t.Fatal("a lease ended without a leader")
		}
		r.leadFor(2, 5*time.Second) // the grace is one election timeout on top
		if !r.has("k") {
			t.Error("a new leader did not give the lease its time")
		}
		r.leadFor(3, 5*time.Second)
		if !r.has("k") {
			t.Error("a new leader counted the time of the one before")
		}
		r.leadFor(4, 6*time.Second+2*lessorRound)
		if r.has("k") || len(r.leases.ids()) != 0 {
			t.Errorf("the key is there: %t, leases %v", r.has("k"), r.leases.ids())
		}
	})
}

// A lease of an hour whose holder is dead ends after an hour, and per change of leader at most a checkpoint
// interval and a grace later.
func TestChangesOfLeaderDoNotExtendALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, "a")
		r.grant(7, 3600)
		r.must(kindPut, leased("k", 7))
		start := time.Now()
		for term := uint64(2); r.has("k"); term++ {
			r.leadFor(term, 12*time.Minute)
			if time.Since(start) > 3*time.Hour {
				t.Fatal("the lease does not end")
			}
		}
		// Of each 12 min, the two checkpoints leave 2 min uncounted.
		if took := time.Since(start); took < time.Hour || took > time.Hour+8*(2*time.Minute+2*time.Second) {
			t.Errorf("the lease ended after %s", took)
		}
	})
}

func TestARenewalTakesTheCheckpointBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, "a")
		r.grant(7, 3600)
		stop := r.lead(2)
		defer func() { stop() }()
		time.Sleep(50 * time.Minute)
		synctest.Wait()
		l, _ := r.leases.table.Get(7)
		if l.Remaining < 590 || l.Remaining > 3600-45*60+1 {
			t.Fatalf("after 50 min the log has %d s", l.Remaining)
		}
		if ttls, held, err := r.leases.renew(2, []int64{7, 8}); err != nil || len(held) != 1 || ttls[0]+ttls[1] != 0 {
			t.Fatalf("renewed over a checkpoint: %v, %v, %v", ttls, held, err)
		}
		l.Remaining = 0
		if err := r.checkpoint(t.Context(), []lease.Lease{l}); err != nil {
			t.Fatal(err)
		}
		if ttls, held, err := r.leases.renew(2, []int64{7, 8}); err != nil || len(held) != 0 || ttls[0] != 3600 || ttls[1] != 0 {
			t.Fatalf("renewed: %v, %v, %v", ttls, held, err)
		}
		stop()
		// The next leader must keep the promise of 3600 s.
		stop = r.lead(3)
		time.Sleep(3600 * time.Second)
		synctest.Wait()
		if len(r.leases.ids()) != 1 {
			t.Error("the promise of the leader before was broken")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(r.leases.ids()) != 0 {
			t.Error("the lease did not end")
		}
	})
}

func TestManyLeasesEndAtTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, "a")
		r.cfg.LeaseRevokesPerSecond = 100
		for id := range int64(250) {
			r.grant(id+1, 2)
		}
		stop := r.lead(2)
		defer stop()
		time.Sleep(3*time.Second + lessorRound/2)
		for _, most := range []int{250, 150, 50, 0} {
			synctest.Wait()
			if n := r.leases.len(); n < most-10 || n > most {
				t.Errorf("%d leases are left, want about %d", n, most)
			}
			time.Sleep(time.Second)
		}
	})
}

// Who was deposed must not renew, whatever it has been told: an entry of a later term says enough.
func TestADeposedLeaderDoesNotRenew(t *testing.T) {
	r := newReplica(t, "a")
	r.grant(7, 60)
	if ttls, _, err := r.leases.renew(1, []int64{7}); err != nil || ttls[0] != 60 {
		t.Fatal(ttls, err)
	}
	if _, _, err := r.leases.renew(2, []int64{7}); !errors.Is(err, ErrNotLeader) {
		t.Errorf("renewed in another term: %v", err)
	}
	r.index++
	if err := r.Apply([]consensus.Entry{{Index: r.index, Term: 2}}); err != nil {
		t.Fatal(err)
	}
	if ttls, _, err := r.leases.renew(1, []int64{7}); !errors.Is(err, ErrNotLeader) {
		t.Errorf("renewed: %v, %v", ttls, err)
	}
	if _, _, _, err := r.leases.left(7); !errors.Is(err, ErrNotLeader) {
		t.Errorf("time to live: %v", err)
	}
}

func TestAnExpiryReachesOtherDatacentersAsADelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
		a.grant(7, 2)
		a.must(kindPut, leased("k", 7))
		ship(t, a, b)
		b.leadFor(2, time.Hour)
		if !b.has("k") {
			t.Fatal("another datacenter ended the lease")
		}
		a.leadFor(2, 4*time.Second)
		if a.has("k") {
			t.Fatal("the lease did not end")
		}
		b.LeaderChanged(4, 1, true)
		ship(t, a, b)
		if b.has("k") {
			t.Error("the key outlived its lease elsewhere")
		}
		sameData(t, a, b)
	})
}

// Of a real group: calls, bounds, and a lease whose leader is killed.
func TestLeasesOfAGroup(t *testing.T) {
	ctx := testContext(t)
	g := newGroup(t, 3)
	leader := g.leader()
	granted, err := leader.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: -1})
	if err != nil || granted.ID <= 0 || granted.TTL != 1 {
		t.Fatal(granted, err)
	}
	long, err := leader.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 600, ID: 7})
	if err != nil || long.ID != 7 || long.TTL != 600 {
		t.Fatal(long, err)
	}
	if _, err := leader.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 600, ID: 7}); !errors.Is(err, ErrLeaseExists) {
		t.Errorf("granted twice: %v", err)
	}
	if _, err := leader.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: lease.MaxTTL + 1}); !errors.Is(err, ErrLeaseTTL) {
		t.Errorf("too long: %v", err)
	}
	if _, _, err := leader.Put(ctx, leased("short", granted.ID)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := leader.Put(ctx, leased("long", 7)); err != nil {
		t.Fatal(err)
	}
	ttl, err := leader.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 7, Keys: true})
	if err != nil || ttl.TTL < 590 || ttl.TTL > 600 || ttl.GrantedTTL != 600 || len(ttl.Keys) != 1 || string(ttl.Keys[0]) != "long" {
		t.Errorf("time to live: %v, %v", ttl, err)
	}
	if ttl, err := leader.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 99}); err != nil || ttl.TTL != -1 {
		t.Errorf("time to live of no lease: %v, %v", ttl, err)
	}
	for _, m := range g.members {
		if l, err := m.LeaseLeases(ctx, &pb.LeaseLeasesRequest{}); err != nil || len(l.Leases) != 2 {
			t.Errorf("leases: %v, %v", l, err)
		}
		if m == leader {
			continue
		}
		if _, err := m.LeaseRenew(ctx, []int64{7}); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower renewed: %v", err)
		}
	}
	if ttls, err := leader.LeaseRenew(ctx, []int64{99, 7}); err != nil || ttls[0] != 0 || ttls[1] != 600 {
		t.Errorf("renewed: %v, %v", ttls, err)
	}
	leader.kill()
	second := g.leader()
	watch := second.Changed()
	for second.store.Keys() > 1 {
		select {
		case <-watch:
			watch = second.Changed()
		case <-ctx.Done():
			t.Fatal("the lease did not end under the next leader")
		}
	}
	if ids := second.leases.ids(); len(ids) != 1 || ids[0] != 7 {
		t.Errorf("leases %v", ids)
	}
	second.DC.cfg.MaxLeases = 1
	if _, err := second.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 5}); !errors.Is(err, ErrTooManyLeases) {
		t.Errorf("over the bound: %v", err)
	}
}

// A leader that no majority answers may be deposed already: it must not promise anything.
func TestALeaderWithoutAMajorityDoesNotRenew(t *testing.T) {
	ctx := testContext(t)
	g := newGroup(t, 3)
	leader := g.leader()
	if _, err := leader.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 600, ID: 7}); err != nil {
		t.Fatal(err)
	}
	for _, m := range g.members {
		if m != leader {
			m.kill()
		}
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if ttls, err := leader.LeaseRenew(short, []int64{7}); err == nil {
		t.Errorf("renewed: %v", ttls)
	}
}
