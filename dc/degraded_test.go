package dc

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// putDegraded writes as the gateway does under a weaker policy.
func (r *replica) putDegraded(id, key string, g Degraded) Commit {
	r.t.Helper()
	payload, err := proto.Marshal(&pb.PutRequest{Key: []byte(key)})
	if err != nil {
		r.t.Fatal(err)
	}
	it := item{kind: kindPut, payload: payload}
	if id != "" {
		if it, err = it.withID(id); err != nil {
			r.t.Fatal(err)
		}
	}
	if it.note, err = json.Marshal(g); err != nil {
		r.t.Fatal(err)
	}
	p, err := r.queue.add(it)
	if err != nil {
		r.t.Fatal(err)
	}
	r.commitQueued()
	return (<-p.done).commit
}

func TestDegradedWritesAreCounted(t *testing.T) {
	r := newReplica(t, "a", "b")
	if r.Degraded() != nil {
		t.Fatal("counted before anything was written")
	}
	first := r.putDegraded("", "k", Degraded{Keyspaces: []string{"", "x/"}, Policy: 2, Bytes: 10})
	r.put("k", "not degraded")
	r.putDegraded("id", "k", Degraded{Keyspaces: []string{""}, Policy: 3, Bytes: 5})
	if c := r.putDegraded("id", "k", Degraded{Keyspaces: []string{""}, Policy: 3, Bytes: 5}); !c.Repeated {
		t.Fatalf("%+v", c)
	}
	g := r.Degraded()
	if d := g[""]; d.Bytes != 15 || d.Low != 2 || d.High != 3 || d.Began != first.Stamp || time.Since(d.Seen) > time.Minute {
		t.Errorf("%+v", d)
	}
	if d := g["x/"]; d.Bytes != 10 {
		t.Errorf("%+v", d)
	}
	// Another replica that is given the state goes on.
	if raw := r.store.Meta(metaDegraded); len(raw) == 0 {
		t.Error("not in the store")
	} else if again, err := decodeDegraded(raw); err != nil || again[""].Bytes != 15 || again[""].Began != first.Stamp || again[""].Seen.IsZero() {
		t.Errorf("%+v, %v", again, err)
	}
	// What comes after an account was read stays when it is closed.
	r.putDegraded("", "k", Degraded{Keyspaces: []string{""}, Policy: 2, Bytes: 1})
	n, err := json.Marshal(note{Left: map[string]left{"": {Began: g[""].Began, Bytes: g[""].Bytes}, "x/": {Began: g["x/"].Began, Bytes: 10}, "y/": {Began: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.queue.add(item{kind: kindConfirm, payload: []byte("{}"), note: n}); err != nil {
		t.Fatal(err)
	}
	r.commitQueued()
	if g := r.Degraded(); len(g) != 1 || g[""].Bytes != 1 || g[""].Began == first.Stamp {
		t.Errorf("left %+v", g)
	}
	if d := g[""]; d.Bytes != 15 {
		t.Errorf("a reader's map was changed: %s", fmt.Sprint(g))
	}
}
