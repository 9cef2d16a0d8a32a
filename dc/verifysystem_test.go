package dc

import (
	"slices"
	"testing"

	"geogate/dc/store"
	"geogate/replication/verify"
)

// setSystem changes an entry behind the replica's back; value nil forgets it without a grave.
func (r *replica) setSystem(name string, value []byte, g store.Geo) {
	r.t.Helper()
	b, err := r.store.Begin()
	if err != nil {
		r.t.Fatal(err)
	}
	b.NextTxn()
	if value == nil {
		b.DeleteSystem(name, g)
		b.DropGraves(map[string]int64{g.Origin: g.OriginRevision}, 10)
	} else {
		b.PutSystem(name, value, g)
	}
	b.Commit(r.store.Applied())
}

// The system table is compared as a bucket of its own, whose entries are named.
func TestSystemTableIsCompared(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	a.put("k", "1")
	a.put("k", "2")
	ship(t, a, b)
	g := store.Geo{Origin: "a", OriginRevision: a.Position("a").Revision, Stamp: 5}
	for _, r := range []*replica{a, b} {
		r.setSystem("user/ann", []byte("x"), g)
		r.setSystem("user/bob", []byte("x"), g)
		r.setSystem("user/eve", []byte("x"), g)
	}
	if _, _, different := compare(a, b); len(different) > 0 {
		t.Fatalf("buckets %v differ", different)
	}
	b.setSystem("user/bob", []byte("y"), g)
	b.setSystem("user/eve", nil, g)
	if _, _, different := compare(a, b); !slices.Equal(different, []int{store.Buckets}) {
		t.Errorf("buckets %v differ, want that of the system table", different)
	}
	got := keysOf(t, a, b, store.Buckets)
	slices.Sort(got)
	if !slices.Equal(got, []string{"user/bob", "user/eve"}) {
		t.Errorf("%q differ", got)
	}
	_, copies, _, err := b.VerifyKeys(store.Buckets, nil, 10)
	if err != nil || len(copies) != 2 || !copies[0].System {
		t.Errorf("%+v, %v", copies, err)
	}
	// What only one has applied is no difference yet.
	c := newReplica(t, "c", "a", "b")
	if _, pending, different := compare(a, c); pending == 0 || len(different) > 0 {
		t.Errorf("%d pending, %v different", pending, different)
	}
	// An older build knows nothing of the last bucket.
	sa, sb := a.verifyState().Cut(store.Buckets), b.verifyState().Cut(store.Buckets)
	r := verify.Relate(&sa.Holding, &sb.Holding)
	for i := range sa.Digests {
		if r.Bucket(sa, sb, i) != verify.Equal {
			t.Errorf("bucket %d", i)
		}
	}
}
