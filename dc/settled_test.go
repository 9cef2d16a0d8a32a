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
	settledSnapshotSince(t, src, dst, size, 0)
}

// settledSnapshotSince leaves out what an earlier one gave. It returns what the next one may name, and the keys that it
// gave.
func settledSnapshotSince(t *testing.T, src, dst *replica, size int, since int64) (next int64, keys []string) {
	t.Helper()
	marks, next, high, err := src.SnapshotMarks()
	if err != nil {
		t.Fatal(err)
	}
	var after []byte
	for done := false; !done; {
		var chunk []byte
		if chunk, after, done, err = src.Export(t.Context(), after, since, size); err != nil {
			t.Fatal(err)
		}
		c, err := decodeChunk(chunk)
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.versions {
			keys = append(keys, string(c.versions[i].Key))
		}
		dst.propose(kindMerge, chunk)
	}
	dst.adoptFrom(src, marks, high)
	return next, keys
}

// A datacenter that falls behind again and again gets each key once, and what was open when it got the others.
func TestTheNextSnapshotGivesWhatWasNotSettled(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	for i := range 100 {
		a.lock(fmt.Sprintf("%03d", i), "1")
	}
	settled := a.Position("a").Revision
	a.noted(note{})
	for i := range 10 {
		a.lock(fmt.Sprintf("%03d", i), "2")
	}
	a.lock("late", "2")
	a.trimTo(settled)
	next, keys := settledSnapshotSince(t, a, c, 200, 0)
	if len(keys) != 100 {
		t.Errorf("the first snapshot gives %d keys, want the 100 that were settled", len(keys))
	}
	if got, _ := c.get(locks + "001"); got != "1" {
		t.Errorf("001 is %q in the first snapshot", got)
	}
	if next >= 0 {
		t.Fatalf("the next snapshot begins at %d", next)
	}
	a.lock("later", "3")
	settled = a.Position("a").Revision
	a.noted(note{})
	a.lock("tail", "4")
	a.trimTo(settled)
	next, keys = settledSnapshotSince(t, a, c, 200, next)
	if len(keys) != 12 {
		t.Errorf("the second snapshot gives %q, want the 12 keys that were written behind the first", keys)
	}
	for key, want := range map[string]string{"001": "2", "050": "1", "late": "2", "later": "3", "tail": ""} {
		if got, _ := c.get(locks + key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if _, keys = settledSnapshotSince(t, a, c, 200, next); len(keys) != 0 {
		t.Errorf("the third snapshot gives %q", keys)
	}
	if _, keys = settledSnapshotSince(t, a, c, 200, settled); len(keys) != 102 {
		t.Errorf("since a number that says nothing of what was settled, %d keys are given, want all 102", len(keys))
	}
}

// What was there when the first keyspace got its home may be open still: its frames were retained before.
func TestASnapshotOfTheFirstHomeIsFollowedByAWholeOne(t *testing.T) {
	a := newReplica(t, "a", "b", "c")
	for i := range 10 {
		a.put(fmt.Sprint(i), "1")
	}
	if _, since, _, _ := a.SnapshotMarks(); since != a.Revision() {
		t.Errorf("without homes a snapshot may follow since %d, want %d", since, a.Revision())
	}
	b, c := newReplica(t, "b", "a", "c"), newReplica(t, "c", "a", "b")
	failover(t, a, a, b, c)
	if _, since, _, _ := a.SnapshotMarks(); since != 0 {
		t.Errorf("since %d, while frames of before are retained", since)
	}
	a.trimTo(5)
	if _, since, _, _ := a.SnapshotMarks(); since != 0 {
		t.Errorf("since %d, while frames of before are retained", since)
	}
	a.put("x", "1")
	a.put("y", "1")
	a.trimTo(a.Position("a").Revision - 1)
	if _, since, _, _ := a.SnapshotMarks(); since >= 0 {
		t.Errorf("since %d, although all of before is settled", since)
	}
}

// What a snapshot has brought from beyond the marks is open while no frame has led there.
func TestWhileASnapshotIsMergedNoOtherFollowsIt(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	b.put("1", "1")
	b.put("2", "1")
	chunk, _, _, err := b.Export(t.Context(), nil, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	a.put("x", "1")
	a.propose(kindMerge, chunk) // b's frames don't come
	for range 3 {
		a.put("x", "1")
		a.noted(note{})
		a.put("x", "2")
		a.trimTo(a.Position("a").Revision - 1)
	}
	if _, since, _, _ := a.SnapshotMarks(); since != 0 {
		t.Errorf("since %d, with a state of b beyond its mark", since)
	}
	spread(t, dcs)
	a.put("x", "3")
	a.noted(note{})
	a.put("x", "4")
	a.trimTo(a.Position("a").Revision - 1)
	a.confirm(b) // b's frames go
	if _, since, _, _ := a.SnapshotMarks(); since >= 0 {
		t.Errorf("since %d, although everything is settled", since)
	}
}

// reborn makes a the home, has it write keys and lose its data, and makes it the home again, in another life. Everybody
// has the keys, and has confirmed them.
func reborn(t *testing.T, keys int) (dcs map[string]*replica) {
	t.Helper()
	dcs = threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	for i := range keys {
		a.lock(fmt.Sprint(i), "1")
	}
	spread(t, dcs)
	for _, r := range dcs {
		r.confirm(a, b, c)
	}
	v := failover(t, b, b, c)
	c.learn(v)
	a = newReplica(t, "a", "b", "c")
	dcs["a"] = a
	settledSnapshot(t, b, a, 1<<20)
	leapt := a.Revision()
	if leapt < lifeLeap || leapt > lifeLeap+100 {
		t.Errorf("the revision leaps to %d", leapt)
	}
	settledSnapshot(t, c, a, 1<<20)
	if a.Revision() > leapt+10 {
		t.Errorf("the revision leaps again, to %d", a.Revision())
	}
	a.learn(v)
	for _, r := range []*replica{b, c} {
		settledSnapshot(t, a, r, 1<<20)
	}
	a.now = b.now.Add(time.Second)
	v = failover(t, a, a, b, c)
	b.learn(v)
	c.learn(v)
	return dcs
}

// What a home wrote in an earlier life is settled, whatever its revisions are.
func TestASnapshotGivesWhatAnEarlierLifeOfTheHomeWrote(t *testing.T) {
	dcs := reborn(t, 20)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	all := func(when string) {
		t.Helper()
		fresh := newReplica(t, "c", "a", "b")
		settledSnapshot(t, b, fresh, 1<<20)
		for i := range 20 {
			if got, _ := fresh.get(locks + fmt.Sprint(i)); got != "1" {
				t.Errorf("%s: the snapshot brings %d as %q", when, i, got)
			}
		}
	}
	all("before its first write")
	a.lock("tail", "1")
	a.lock("7", "tail")
	spread(t, dcs)
	if got, _ := b.get(locks + "7"); got != "tail" {
		t.Fatalf("b has %q", got)
	}
	all("while its writes are open")
	for _, r := range dcs {
		r.confirm(a, b, c)
	}
	if _, retained := b.store.Retained("a"); retained {
		t.Fatal("frames of a are retained")
	}
	a.lock("7", "1")
	spread(t, dcs)
	for _, r := range dcs {
		r.confirm(a, b, c)
	}
	all("once all have confirmed them")
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
			a.compact()
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
	a.compact()
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

// A write that was taken back is in the history of its key, behind the write that it had replaced, which is there twice.
func TestASnapshotDoesNotGiveWhatWasTakenBack(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	a.lock("k", "1")
	spread(t, dcs)
	b.now = b.now.Add(time.Hour)
	v := failover(t, b, b, c)
	a.learn(v)
	b.lock("k", "tail")
	v = failover(t, a, a, c)
	b.learn(v)
	if got, _ := b.get(locks + "k"); got != "1" {
		t.Fatalf("k is %q where the tail was taken back", got)
	}
	fresh := newReplica(t, "c", "a", "b")
	settledSnapshot(t, b, fresh, 1<<20)
	if got, _ := fresh.get(locks + "k"); got != "" {
		t.Errorf("the snapshot brings k = %q: 1 is open, and nothing was before it", got)
	}
	fresh.learn(v)
	dcs["c"] = fresh
	spread(t, dcs)
	sameData(t, a, b, fresh)
	if got, _ := fresh.get(locks + "k"); got != "1" {
		t.Errorf("k is %q at last", got)
	}
}
