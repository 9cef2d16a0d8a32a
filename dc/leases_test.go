package dc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/auth"
	"geogate/dc/lease"
	"geogate/dc/store"
	"geogate/replication/event"
)

// command commits a lease item.
func (r *replica) command(c lease.Command) result {
	r.t.Helper()
	p, err := r.queue.add(item{kind: kindLease, payload: c.Marshal()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.commitQueued()
	return <-p.done
}

func (r *replica) grant(id, ttl int64) {
	r.t.Helper()
	if res := r.command(lease.Command{Op: lease.OpGrant, Leases: []lease.Lease{{ID: id, TTL: ttl}}}); res.err != nil {
		r.t.Fatalf("grant %d: %v", id, res.err)
	}
}

func (r *replica) revoke(id int64) result {
	return r.command(lease.Command{Op: lease.OpRevoke, Leases: []lease.Lease{{ID: id}}})
}

func leased(key string, id int64) *pb.PutRequest {
	return &pb.PutRequest{Key: []byte(key), Value: []byte("v"), Lease: id}
}

func opLeased(key string, id int64) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: leased(key, id)}}
}

// keysOf shows the keys of a lease.
func (r *replica) keysOf(id int64) string {
	var out []string
	for _, k := range r.LeaseKeys(id) {
		out = append(out, string(k))
	}
	return strings.Join(out, " ")
}

func (r *replica) must(k kind, req *pb.PutRequest) {
	r.t.Helper()
	if res := r.do(k, req); res.err != nil {
		r.t.Fatal(res.err)
	}
}

func TestAPutNeedsItsLease(t *testing.T) {
	r := newReplica(t, "a")
	if res := r.do(kindPut, leased("k", 7)); !errors.Is(res.err, ErrLeaseNotFound) {
		t.Errorf("put: %v", res.err)
	}
	// All or nothing, nested too, and only on the path that is taken.
	inner := opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opLeased("inner", 7)}})
	res := r.do(kindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{opPut("before", "1"), inner}})
	if !errors.Is(res.err, ErrLeaseNotFound) || r.Revision() != 1 {
		t.Errorf("txn: %v, revision %d", res.err, r.Revision())
	}
	res = r.do(kindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{opPut("k", "1")}, Failure: []*pb.RequestOp{inner}})
	if res.err != nil {
		t.Errorf("txn whose other branch has an unknown lease: %v", res.err)
	}
	r.grant(7, 60)
	if res := r.do(kindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{inner, opLeased("outer", 7)}}); res.err != nil {
		t.Error(res.err)
	}
	if got := r.keysOf(7); got != "inner outer" {
		t.Errorf("attached are %s", got)
	}
}

func TestRevokeDeletesTheKeysInOrderAtOneRevision(t *testing.T) {
	r := newReplica(t, "a", "b")
	r.grant(7, 60)
	for _, k := range []string{"z", "a", "m"} {
		r.must(kindPut, leased(k, 7))
	}
	r.put("free", "v")
	at := r.Revision()
	res := r.revoke(7)
	if res.err != nil || res.commit.Revision != at+1 || r.Revision() != at+1 {
		t.Fatalf("%v, commit %d, revision %d after %d", res.err, res.commit.Revision, r.Revision(), at)
	}
	if h := res.response.(*pb.LeaseRevokeResponse).Header.Revision; h != at+1 {
		t.Errorf("header %d", h)
	}
	frames, err := r.Frames("a", at-1, 1<<20)
	if err != nil || len(frames) == 0 {
		t.Fatal(frames, err)
	}
	f, _, err := event.Open(frames[len(frames)-1].Bytes)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, op := range f.Txns[0].Ops {
		got = append(got, fmt.Sprintf("%d %s", op.Kind, op.Key))
	}
	if want := fmt.Sprintf("%d a,%d m,%d z", event.OpDelete, event.OpDelete, event.OpDelete); strings.Join(got, ",") != want || len(f.Txns) != 1 {
		t.Errorf("the frame has %v", got)
	}
	if _, ok := r.get("free"); !ok {
		t.Error("a key without the lease is gone")
	}

	r.grant(8, 60)
	if res := r.revoke(8); res.err != nil || res.commit.Revision != 0 || r.Revision() != at+1 {
		t.Errorf("revoke without keys: %v, revision %d", res.err, r.Revision())
	}
	for _, id := range []int64{7, 8, 99} {
		if res := r.revoke(id); !errors.Is(res.err, ErrLeaseNotFound) {
			t.Errorf("revoke of %d, which is not there: %v", id, res.err)
		}
	}
	r.grant(7, 60)
	if res := r.command(lease.Command{Op: lease.OpGrant, Leases: []lease.Lease{{ID: 7, TTL: 1}}}); !errors.Is(res.err, ErrLeaseExists) {
		t.Errorf("granted twice: %v", res.err)
	}
}

func TestKeysAttachAndDetach(t *testing.T) {
	r := newReplica(t, "a")
	r.grant(7, 60)
	r.grant(8, 60)
	for _, step := range []struct {
		do         func()
		on7, on8   string
		leaseOfKey int64
	}{
		{func() { r.must(kindPut, leased("k", 7)) }, "k", "", 7},
		{func() { r.must(kindPut, leased("k", 7)) }, "k", "", 7},
		{func() { r.must(kindPut, leased("k", 8)) }, "", "k", 8},
		{func() { r.must(kindPut, &pb.PutRequest{Key: []byte("k"), IgnoreLease: true, Value: []byte("w")}) }, "", "k", 8},
		{func() { r.must(kindPut, leased("j", 8)) }, "", "j k", 8},
		{func() { r.put("k", "plain") }, "", "j", 0},
		{func() { r.del("j") }, "", "", 0},
		{func() { r.must(kindPut, leased("j", 7)) }, "j", "", 0},
	} {
		step.do()
		if r.keysOf(7) != step.on7 || r.keysOf(8) != step.on8 {
			t.Fatalf("attached are %q and %q, want %q and %q", r.keysOf(7), r.keysOf(8), step.on7, step.on8)
		}
		res, err := rangeOver(r.store, &pb.RangeRequest{Key: []byte("k")})
		if err != nil || len(res.Kvs) != 1 || res.Kvs[0].Lease != step.leaseOfKey {
			t.Fatalf("k is %v, %v, want lease %d", res.Kvs, err, step.leaseOfKey)
		}
	}
}

// Ids are a datacenter's own: what another one attached to its lease 7 is not attached to ours.
func TestLeasesOfTwoDatacentersDoNotMix(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	a.grant(7, 60)
	b.grant(7, 60)
	b.now = b.now.Add(1e9)
	a.must(kindPut, leased("taken over", 7))
	b.must(kindPut, leased("taken over", 7))
	a.must(kindPut, leased("of a", 7))
	b.must(kindPut, leased("of b", 7))
	ship(t, a, b)
	ship(t, b, a)
	if got := a.keysOf(7); got != "of a" {
		t.Errorf("attached at a: %s", got)
	}
	if got := b.keysOf(7); got != "of b taken over" {
		t.Errorf("attached at b: %s", got)
	}
	// To keep the lease of a key of another datacenter is to have none.
	a.now = b.now.Add(1e9)
	a.must(kindPut, &pb.PutRequest{Key: []byte("of b"), IgnoreLease: true, Value: []byte("w")})
	if got := a.keysOf(7); got != "of a" {
		t.Errorf("attached at a after a put on a key of b: %s", got)
	}
	if res := a.revoke(7); res.err != nil {
		t.Fatal(res.err)
	}
	ship(t, a, b)
	for _, r := range []*replica{a, b} {
		if _, ok := r.get("of a"); ok {
			t.Errorf("%s has a key whose lease is gone", r.cfg.Name)
		}
		for _, k := range []string{"of b", "taken over"} {
			if _, ok := r.get(k); !ok {
				t.Errorf("%s lost %q with another datacenter's lease", r.cfg.Name, k)
			}
		}
	}
	if got := b.keysOf(7); got != "taken over" {
		t.Errorf("attached at b at the end: %s", got)
	}
	sameData(t, a, b)
}

func TestLeasesSurviveARestartAndASnapshotOfANode(t *testing.T) {
	dir := t.TempDir()
	r := openReplica(t, Config{Name: "a", Dir: dir})
	r.LeaderChanged(1, 1, true)
	r.commitQueued()
	r.grant(7, 600)
	r.grant(8, 60)
	r.grant(9, 60)
	r.must(kindPut, leased("k", 7))
	if err := r.store.Flush(); err != nil { // part of it is in one flush, part in another
		t.Fatal(err)
	}
	r.must(kindPut, leased("l", 7))
	r.revoke(8)
	seven, _ := r.leases.table.Get(7)
	seven.Remaining = 300
	if res := r.command(lease.Command{Op: lease.OpCheckpoint, Leases: []lease.Lease{seven}}); res.err != nil {
		t.Fatal(res.err)
	}
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	again := openReplica(t, Config{Name: "a", Dir: dir})
	other := newReplica(t, "a")
	other.grant(77, 60)
	at, _, rc, err := again.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(other.Restore(consensusApplied(at), rc), rc.Close()); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*replica{again, other} {
		got, ok := x.leases.table.Get(7)
		if !ok || got != seven || fmt.Sprint(x.leases.ids()) != "[7 9]" || x.keysOf(7) != "k l" {
			t.Errorf("lease %+v, want %+v; ids %v, keys %s", got, seven, x.leases.ids(), x.keysOf(7))
		}
	}
}

// What was decided about a lease is not done to a later one with its id.
func TestALateRevokeSparesTheNextLeaseOfThatID(t *testing.T) {
	r := newReplica(t, "a")
	r.grant(7, 2)
	first, _ := r.leases.table.Get(7)
	r.revoke(7)
	r.grant(7, 600)
	r.must(kindPut, leased("k", 7))
	res := r.command(lease.Command{Op: lease.OpRevoke, Expired: true, Leases: []lease.Lease{first}})
	if !errors.Is(res.err, ErrLeaseNotFound) {
		t.Errorf("late revoke: %v", res.err)
	}
	first.Remaining = 1
	r.command(lease.Command{Op: lease.OpCheckpoint, Leases: []lease.Lease{first}})
	if l, ok := r.leases.table.Get(7); !ok || l.Left() != 600 || r.keysOf(7) != "k" {
		t.Errorf("the second lease is %+v, %t, keys %s", l, ok, r.keysOf(7))
	}
}

// A datacenter that lost its disks gets its keys back from a peer, and not its leases.
func TestKeysThatComeBackGetTheirLeaseAgain(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	a.grant(7, 3600)
	a.must(kindPut, leased("k", 7))
	ship(t, a, b)
	chunk, last, _, err := b.Export(testContext(t), nil, 0, 1<<20)
	done := parseCursor(last).phase != cursorKey // all keys are in
	if err != nil || !done {
		t.Fatal(done, err)
	}
	marks, _, high := b.Marks()
	fresh := newReplica(t, "a", "b")
	merged, err := fresh.Merge(testContext(t), chunk)
	if err != nil {
		t.Fatal(err)
	}
	adopted := make(chan error, 1)
	go func() { adopted <- errors.Join(<-merged, fresh.Adopt(testContext(t), "b", marks, high)) }()
	for waiting := true; waiting; {
		select {
		case <-fresh.queue.waiting:
			fresh.commitQueued()
		case err := <-adopted:
			if err != nil {
				t.Fatal(err)
			}
			waiting = false
		}
	}
	if l, ok := fresh.leases.table.Get(7); !ok || l.TTL != orphanTTL || fresh.keysOf(7) != "k" {
		t.Errorf("lease %+v, %t, keys %q", l, ok, fresh.keysOf(7))
	}
}

// Whatever happens to keys in two datacenters, what is attached is what a search of all data finds.
func TestAttachedKeysAgainstTheData(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	rs := []*replica{newReplica(t, "a", "b"), newReplica(t, "b", "a")}
	for i := range 1500 {
		r := rs[rnd.IntN(2)]
		key, id := fmt.Sprint("k", rnd.IntN(8)), int64(1+rnd.IntN(3))
		switch rnd.IntN(9) {
		case 0:
			r.command(lease.Command{Op: lease.OpGrant, Leases: []lease.Lease{{ID: id, TTL: 60}}})
		case 1:
			r.revoke(id)
		case 2:
			r.del(key)
		case 3:
			r.put(key, "plain")
		case 4:
			r.do(kindPut, &pb.PutRequest{Key: []byte(key), IgnoreLease: true, Value: []byte("w")})
		case 5:
			r.do(kindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{opLeased(key, id), opLeased("other", id)}})
		case 6:
			ship(t, rs[0], rs[1])
			ship(t, rs[1], rs[0])
		default:
			r.do(kindPut, leased(key, id))
		}
		rs[rnd.IntN(2)].now = r.now.Add(1e6)
		if i%20 != 0 {
			continue
		}
		for _, r := range rs {
			want := map[int64][]string{}
			err := r.store.Iterate(func(v *store.Version) error {
				if v.Lease != 0 && v.Geo.Origin == r.cfg.Name {
					want[v.Lease] = append(want[v.Lease], string(v.Key))
					if _, ok := r.leases.table.Get(v.Lease); !ok {
						t.Errorf("%s: %q has lease %d, which is not granted", r.cfg.Name, v.Key, v.Lease)
					}
				}
				return nil
			})
			if err := errors.Join(err, r.store.Check()); err != nil {
				t.Fatal(err)
			}
			for id := range int64(4) {
				if got := r.keysOf(id); got != strings.Join(want[id], " ") {
					t.Fatalf("%s: lease %d has %q, the data %q", r.cfg.Name, id, got, want[id])
				}
			}
		}
	}
	ship(t, rs[0], rs[1])
	ship(t, rs[1], rs[0])
	sameData(t, rs...)
}

// What a lease ends is known when its revoke is applied: keys that were attached, rights that were taken away and
// authentication that was enabled since it was permitted all count. The leader's own revokes always go through.
func TestRevokeIsJudgedWhenItIsApplied(t *testing.T) {
	r := newReplica(t, "a", "b")
	r.setUp("user:ann:secret", "role:ann", "perm:ann:own/:own0", "grant:ann:ann")
	for _, id := range []int64{1, 2, 3} {
		r.mustLease(lease.Command{Op: lease.OpGrant, Leases: []lease.Lease{{ID: id, TTL: 60}}}, 0)
	}
	attach := func(key string, id int64) {
		t.Helper()
		payload := mustProto(t, &pb.PutRequest{Key: []byte(key), Lease: id})
		p, err := r.queue.add(item{kind: kindPut, payload: payload, auth: r.authNow()})
		if err != nil {
			t.Fatal(err)
		}
		r.commitQueued()
		if err := (<-p.done).err; err != nil {
			t.Fatal(err)
		}
	}
	attach("own/1", 1)
	attach("own/2", 2)
	revoke := func(id int64, user string, revision uint64, expired bool) error {
		x := lease.Lease{ID: id}
		return r.lease(lease.Command{Op: lease.OpRevoke, Leases: []lease.Lease{x}, User: user, Expired: expired}, revision)
	}
	r.setUp(rooted...)
	now := r.Auth().Revision
	for _, old := range []uint64{0, now - 1, now + 1} {
		if err := revoke(1, "ann", old, false); !errors.Is(err, auth.ErrOldRevision) {
			t.Errorf("under revision %d: %v", old, err)
		}
	}
	attach("others/1", 2) // after the gateway had looked at the lease's keys
	if err := revoke(2, "ann", now, false); !errors.Is(err, auth.ErrPermissionDenied) {
		t.Errorf("with a key of somebody else: %v", err)
	}
	if err := revoke(1, "", now, false); !errors.Is(err, auth.ErrUserEmpty) {
		t.Errorf("as nobody: %v", err)
	}
	for _, key := range []string{"own/1", "own/2", "others/1"} {
		if _, ok := r.get(key); !ok {
			t.Errorf("%s is gone", key)
		}
	}
	if err := errors.Join(revoke(1, "ann", now, false), revoke(2, "root", now, false), revoke(3, "", 0, true)); err != nil {
		t.Error(err)
	}
}

// lease applies a command as of an auth revision.
func (r *replica) lease(c lease.Command, revision uint64) error {
	r.t.Helper()
	p, err := r.queue.add(item{kind: kindLease, payload: c.Marshal(), auth: revision})
	if err != nil {
		r.t.Fatal(err)
	}
	r.commitQueued()
	return (<-p.done).err
}

func (r *replica) mustLease(c lease.Command, revision uint64) {
	r.t.Helper()
	if err := r.lease(c, revision); err != nil {
		r.t.Fatal(err)
	}
}

func (r *replica) authNow() uint64 {
	if s := r.Auth(); s.Enabled {
		return s.Revision
	}
	return 0
}
