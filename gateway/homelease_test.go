package gateway

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"geogate/gateway/electionpb"
	"geogate/gateway/lockpb"
)

// One mutex for clients of three datacenters: etcd's recipe, as its users have it.
func TestMutexOverDatacenters(t *testing.T) {
	names := []string{"dc-a", "dc-b", "dc-c"}
	f := newFederation(t, nil, names...)
	f.shift()
	ctx := testContext(t)
	const each = 8
	var inside, done, most int
	var mu sync.Mutex
	var clients sync.WaitGroup
	for _, name := range names {
		c := f.sites[name].client(1) // a follower
		clients.Go(func() {
			session, err := concurrency.NewSession(c, concurrency.WithTTL(30), concurrency.WithContext(ctx))
			if err != nil {
				t.Error(name, err)
				return
			}
			defer func() {
				if err := session.Close(); err != nil {
					t.Errorf("%s: close: %v", name, err)
				}
			}()
			for range each {
				m := concurrency.NewMutex(session, fedSpace+"lock")
				if err := m.Lock(ctx); err != nil {
					t.Errorf("%s: lock: %v", name, err)
					return
				}
				mu.Lock()
				inside++
				done++
				most = max(most, inside)
				mu.Unlock()
				owner, err := c.Txn(ctx).If(m.IsOwner()).Then(clientv3.OpPut(fedSpace+"owner", name)).Commit()
				if err != nil || !owner.Succeeded {
					t.Errorf("%s holds the lock and is not its owner: %v, %v", name, owner, err)
				}
				mu.Lock()
				inside--
				mu.Unlock()
				if err := m.Unlock(ctx); err != nil {
					t.Errorf("%s: unlock: %v", name, err)
					return
				}
			}
		})
	}
	clients.Wait()
	if most != 1 || done != each*len(names) {
		t.Errorf("%d at a time, %d in all", most, done)
	}
}

func TestElectionOverDatacenters(t *testing.T) {
	f := newFederation(t, nil, "dc-a", "dc-b", "dc-c")
	f.shift()
	ctx := testContext(t)
	b, err := concurrency.NewSession(f.client("dc-b"), concurrency.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	first := concurrency.NewElection(b, fedSpace+"leader")
	if err := first.Campaign(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if err := first.Proclaim(ctx, "b again"); err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	var won *electionpb.CampaignResponse
	grant, err := f.client("dc-c").Grant(ctx, 30)
	if err != nil {
		t.Fatal(err)
	}
	service := electionpb.NewElectionClient(f.sites["dc-c"].conn(0))
	go func() {
		var err error
		won, err = service.Campaign(ctx, &electionpb.CampaignRequest{Name: []byte(fedSpace + "leader"), Lease: int64(grant.ID), Value: []byte("c")})
		second <- err
	}()
	leader, err := concurrency.NewElection(b, fedSpace+"leader").Leader(ctx)
	if err != nil || string(leader.Kvs[0].Value) != "b again" {
		t.Errorf("leader %v, %v", leader, err)
	}
	if err := first.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	if _, err := service.Proclaim(ctx, &electionpb.ProclaimRequest{Leader: won.Leader, Value: []byte("c again")}); err != nil {
		t.Error(err)
	}
	seen, err := electionpb.NewElectionClient(f.sites["dc-a"].conn(0)).Leader(ctx, &electionpb.LeaderRequest{Name: []byte(fedSpace + "leader")})
	if err != nil || string(seen.Kv.Value) != "c again" {
		t.Errorf("dc-a sees %v, %v", seen, err)
	}
}

func TestLockServiceOverDatacenters(t *testing.T) {
	f := newFederation(t, nil, "dc-a", "dc-b", "dc-c")
	ctx := testContext(t)
	var unlocked sync.Mutex
	var order []string
	got := func(what string) {
		unlocked.Lock()
		defer unlocked.Unlock()
		order = append(order, what)
	}
	b, c := lockpb.NewLockClient(f.sites["dc-b"].conn(0)), lockpb.NewLockClient(f.sites["dc-c"].conn(0))
	held, err := b.Lock(ctx, &lockpb.LockRequest{Name: []byte(fedSpace + "l")})
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := c.Lock(ctx, &lockpb.LockRequest{Name: []byte(fedSpace + "l")})
		got("locked in dc-c")
		waiting <- err
	}()
	eventually(t, "two wait", func() bool {
		r, err := f.client("dc-a").Get(ctx, fedSpace+"l", clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && r.Count == 2
	})
	got("unlock in dc-b")
	if _, err := b.Unlock(ctx, &lockpb.UnlockRequest{Key: held.Key}); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil || fmt.Sprint(order) != "[unlock in dc-b locked in dc-c]" {
		t.Errorf("%v, %v", order, err)
	}
}

func TestLeaseElsewhere(t *testing.T) {
	f := newFederation(t, nil, "dc-a", "dc-b", "dc-c")
	ctx := testContext(t)
	a, b := f.client("dc-a"), f.client("dc-b")
	grant, err := b.Grant(ctx, 60)
	if err != nil {
		t.Fatal(err)
	}
	must(t)(b.Put(ctx, fedSpace+"k", "v", clientv3.WithLease(grant.ID)))
	if l, err := a.TimeToLive(ctx, grant.ID); err != nil || l.GrantedTTL != 60 {
		t.Errorf("the home has the lease as %v, %v", l, err)
	}
	if l, err := b.TimeToLive(ctx, grant.ID, clientv3.WithAttachedKeys()); err != nil || len(l.Keys) != 1 {
		t.Errorf("keys of the lease: %v, %v", l, err)
	}
	if _, err := b.Put(ctx, fedSpace+"k2", "v", clientv3.WithLease(5)); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("a lease that nobody has: %v", err)
	}
	must(t)(b.Revoke(ctx, grant.ID))
	if r, err := b.Get(ctx, fedSpace+"k", clientv3.WithSerializable()); err != nil || len(r.Kvs) != 0 {
		t.Errorf("after the revocation there is %v, %v", r, err)
	}
	if l, err := a.TimeToLive(ctx, grant.ID); err != nil || l.TTL != -1 {
		t.Errorf("the home still has the lease: %v, %v", l, err)
	}
}

// Keepalives reach the home; and a lease that ends there ends for the client.
func TestKeepAliveElsewhere(t *testing.T) {
	f := newFederation(t, nil, "dc-a", "dc-b", "dc-c")
	ctx := testContext(t)
	a, b := f.client("dc-a"), f.client("dc-b")
	grant, err := b.Grant(ctx, 5)
	if err != nil {
		t.Fatal(err)
	}
	must(t)(b.Put(ctx, fedSpace+"k", "v", clientv3.WithLease(grant.ID)))
	node := f.sites["dc-b"].nodes[0]
	until := func() time.Time {
		h := node.lockLeases()
		defer h.mu.Unlock()
		if there := h.known[leaseAt{int64(grant.ID), "dc-a"}]; there != nil {
			return there.until
		}
		return time.Time{}
	}
	before := until()
	if before.IsZero() {
		t.Fatal("the lease at the home is not known")
	}
	if r, err := b.KeepAliveOnce(ctx, grant.ID); err != nil || r.TTL < 3 || r.TTL > 5 {
		t.Errorf("keepalive: %v, %v", r, err)
	}
	eventually(t, "the home renewed it", func() bool { return until().After(before) })

	// A home that can't be reached: what is left there is what the client is told.
	f.update(func() { f.silent["dc-a"] = "cut off" })
	eventually(t, "the answer shrinks", func() bool {
		r, err := b.KeepAliveOnce(ctx, grant.ID)
		return errors.Is(err, rpctypes.ErrLeaseNotFound) || err == nil && r.TTL <= 3
	})
	if _, err := b.Revoke(ctx, grant.ID); err == nil {
		t.Error("revoked although its home can't be asked")
	}
	f.update(func() { delete(f.silent, "dc-a") })

	// The lease ends at the home; on a busy machine it has ended by itself.
	if _, err := a.Revoke(ctx, grant.ID); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Fatal(err)
	}
	eventually(t, "the client is told", func() bool {
		_, err := b.KeepAliveOnce(ctx, grant.ID)
		return errors.Is(err, rpctypes.ErrLeaseNotFound)
	})
	eventually(t, "it is revoked here", func() bool {
		l, err := b.TimeToLive(ctx, grant.ID)
		return err == nil && l.TTL == -1
	})
}

// A new leader does not know what the one before it knew: it finds out.
func TestKeepAliveElsewhereAfterAChangeOfLeader(t *testing.T) {
	f := newFederation(t, nil, "dc-a", "dc-b")
	ctx := testContext(t)
	b := f.client("dc-b")
	grant, err := b.Grant(ctx, 60)
	if err != nil {
		t.Fatal(err)
	}
	must(t)(b.Put(ctx, fedSpace+"k", "v", clientv3.WithLease(grant.ID)))
	node := f.sites["dc-b"].nodes[0]
	node.homeLeases.mu.Lock()
	node.homeLeases.known = nil
	node.homeLeases.mu.Unlock()
	if r, err := b.KeepAliveOnce(ctx, grant.ID); err != nil || r.TTL < 35 || r.TTL > 40 {
		t.Errorf("the first keepalive, of which only the keys tell that the home has the lease: %v, %v", r, err)
	}
	eventually(t, "the home has renewed it", func() bool {
		r, err := b.KeepAliveOnce(ctx, grant.ID)
		return err == nil && r.TTL >= 58
	})
	must(t)(b.Revoke(ctx, grant.ID))
	if r, err := f.client("dc-a").Get(ctx, fedSpace+"k"); err != nil || len(r.Kvs) != 0 {
		t.Errorf("after the revocation there is %v, %v", r, err)
	}
}
