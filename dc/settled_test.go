package dc

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"geogate/replication/event"
)

// settledSnapshot is a snapshot that begins as replication begins one.
func settledSnapshot(t *testing.T, src, dst *replica, size int) {
	t.Helper()
	marks, _, high, err := src.SnapshotMarks()
	if err != nil {
		t.Fatal(err)
	}
	var after []byte
	for done := false; !done; {
		var chunk []byte
		if chunk, after, done, err = src.Export(t.Context(), after, 0, size); err != nil {
			t.Fatal(err)
		}
		dst.propose(kindMerge, chunk)
	}
	dst.adoptFrom(src, marks, high)
}

// A snapshot brings nothing that a failover may turn out not to count: its receiver could not take it back.
func TestASnapshotLeavesOutWhatIsNotSettled(t *testing.T) {
	for _, compacted := range []bool{false, true} {
		dcs := threeDCs(t)
		a, b, c := dcs["a"], dcs["b"], dcs["c"]
		failover(t, a, a, b, c)
		for i := range 20 {
			a.lock(fmt.Sprint(i), "1")
		}
		for i := range 5 {
			a.unlock(fmt.Sprint(i))
		}
		a.put("free", "0")
		spread(t, dcs)
		for _, r := range dcs {
			r.confirm(a, b, c)
		}
		a.now = a.now.Add(time.Hour)
		for i := range 20 {
			a.lock(fmt.Sprint(i), "tail")
			a.lock(fmt.Sprint("n", i), "tail")
		}
		for i := 10; i < 15; i++ {
			a.unlock(fmt.Sprint(i))
		}
		a.put("free", "1")
		if compacted {
			a.do(kindCompact, compactRequest(a.Revision()))
			for range 3 {
				if err := a.store.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		fresh := newReplica(t, "c", "a", "b")
		settledSnapshot(t, a, fresh, 100)
		for _, key := range []string{"7", "n7", "12"} {
			if got, _ := fresh.get(locks + key); got == "tail" {
				t.Errorf("compacted %t: the snapshot brought %s", compacted, key)
			}
		}
		if got, _ := fresh.get(locks + "12"); got != "1" {
			t.Errorf("compacted %t: the snapshot brought 12 = %q", compacted, got)
		}
		// The tail comes as frames, which wait for what is known of the home.
		if err := relay(t, a, fresh, "a"); !errors.Is(err, event.ErrHeld) {
			t.Errorf("the tail: %v", err)
		}
		dcs["c"] = fresh
		x, _ := a.Register(locks)
		if i := fresh.Position("a").Revision; i >= a.Position("a").Revision {
			t.Errorf("adopted up to %d", i)
		}
		fresh.learn(x.State.Decided)
		v := failover(t, b, b, c)
		fresh.learn(v)
		b.lock("7", "b")
		if _, _, _, err := a.Export(t.Context(), nil, 0, 1<<20); err != nil {
			t.Error(err)
		}
		a.learn(v)
		spread(t, dcs)
		sameData(t, a, b)
		for key, want := range map[string]string{"7": "b", "n7": "", "12": "1", "1": ""} {
			for _, r := range dcs {
				if got, _ := r.get(locks + key); got != want {
					t.Errorf("compacted %t: %s has %s = %q, want %q", compacted, r.cfg.Name, key, got, want)
				}
			}
		}
		if d1, _ := a.Digest(); true {
			if d2, _ := fresh.Digest(); d1 != d2 {
				t.Errorf("compacted %t: c has digest %x, the others %x", compacted, d2, d1)
			}
		}
		if got, _ := fresh.get("free"); got != "1" {
			t.Errorf("free is %q", got)
		}
		sameTable(t, fresh)
	}
}

// What was deleted, and written again by what is not settled, is given as deleted: the receiver may have what was
// there before.
func TestASnapshotGivesTheGraveBeforeTheTail(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	a.lock("k", "1")
	spread(t, dcs)
	a.unlock("k")
	a.put("free", "0")
	_ = relay(t, a, b, "a")
	deleted := a.Position("a").Revision
	m := matrixEntry{}
	for _, d := range []string{"a", "b", "c"} { // c will lack what went past retention
		m[d] = event.Vector{"a": deleted}
	}
	if _, err := a.queue.add(item{kind: kindConfirm, payload: mustMarshal(m)}); err != nil {
		t.Fatal(err)
	}
	a.commitQueued()
	a.do(kindCompact, compactRequest(a.Revision()))
	for range 3 {
		if err := a.store.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	a.lock("k", "tail")
	settledSnapshot(t, a, c, 1<<20)
	if got, ok := c.get(locks + "k"); ok {
		t.Errorf("c has %q", got)
	}
	v := failover(t, b, b, c)
	a.learn(v)
	spread(t, dcs)
	sameData(t, a, b, c)
}
