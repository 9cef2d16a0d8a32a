package dr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"geogate/gateway/admin"
	"geogate/replication"
	"geogate/replication/registrar"
)

const locks = "/locks/"

// node is an admin API with one keyspace.
type node struct {
	looks  int // at the moves
	end    registrar.MoveStatus
	aside  []admin.AsideWrite
	gone   []uint64
	forced string
}

func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Unix(1, 0).UTC()
	move := registrar.MoveStatus{ID: 3, Keyspace: locks, Kind: registrar.Switchover, From: "a", To: "b", Phase: "catching up", Began: began}
	var answer any
	switch r.URL.Path {
	case "/v1/dr":
		answer = admin.HomesReport{DC: "a", Keyspaces: []replication.HomeStatus{{Configured: "b", Status: registrar.Status{Keyspace: locks, Home: "a", Epoch: 7, Open: true}}}}
	case "/v1/dr/switchover":
		answer = replication.Started{DC: "a", Move: move}
	case "/v1/dr/failover":
		var q admin.FailoverRequest
		_ = json.NewDecoder(r.Body).Decode(&q)
		n.forced = q.Confirm
		answer = admin.Failover{Started: replication.Started{DC: "b"}, Forced: 1 << 32}
	case "/v1/dr/moves":
		if n.looks++; n.looks > 2 {
			move = n.end
			move.ID, move.Began = 3, began
		}
		answer = []registrar.MoveStatus{{ID: 3, Result: "lost", Began: time.Unix(0, 0)}, move} // the first is of another leader
	case "/v1/dr/quarantine":
		after, _ := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64)
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		page := admin.QuarantineReport{DC: "a"}
		for _, w := range n.aside {
			if w.ID > after {
				page.Writes = append(page.Writes, w)
			}
		}
		if page.More = len(page.Writes) > limit; page.More {
			page.Writes = page.Writes[:limit]
		}
		answer = page
	case "/v1/dr/quarantine/discard":
		var q admin.DiscardRequest
		_ = json.NewDecoder(r.Body).Decode(&q)
		n.gone = append(n.gone, q.IDs...)
		answer = map[string]int{"discarded": len(q.IDs)}
	default:
		http.Error(w, "no such path", http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func start(t *testing.T, n *node) Client {
	s := httptest.NewServer(n)
	t.Cleanup(s.Close)
	return Client{Endpoint: strings.TrimPrefix(s.URL, "http://")}
}

func TestMovesAreFollowed(t *testing.T) {
	for _, x := range []struct {
		end  registrar.MoveStatus
		says string // of the error; empty for none
	}{
		{registrar.MoveStatus{To: "b", Home: "b", Decided: 8, Result: "moved"}, ""},
		{registrar.MoveStatus{To: "b", Home: "b", Decided: 8, Phase: "announcing"}, ""},
		{registrar.MoveStatus{To: "b", Home: "c", Decided: 8, Result: "lost", Error: "home is now c in epoch 8"}, "home is now c in epoch 8"},
		{registrar.MoveStatus{To: "b", Result: "aborted", Error: "its deadline has passed"}, "deadline"},
	} {
		n := &node{end: x.end}
		c := start(t, n)
		var told []string
		m, err := c.Failback(t.Context(), locks, time.Minute, func(s string) { told = append(told, s) })
		if (err == nil) != (x.says == "") || err != nil && (!errors.Is(err, ErrNotMoved) || !strings.Contains(err.Error(), x.says)) {
			t.Errorf("%+v: %v", x.end, err)
		}
		if err == nil && (m.Result != "moved" || m.Home != "b") || len(told) != 1 || !strings.Contains(told[0], "catching up") {
			t.Errorf("%+v: %+v, told %v", x.end, m, told)
		}
	}
	if _, err := start(t, &node{}).Failback(t.Context(), "/no/", time.Minute, nil); err == nil || !strings.Contains(err.Error(), "has no single-writer keyspace") {
		t.Errorf("a keyspace that is not there: %v", err)
	}
	if _, err := (Client{Endpoint: "127.0.0.1:1"}).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "--endpoint") {
		t.Errorf("nobody there: %v", err)
	}
	n := &node{}
	if m, err := start(t, n).Force(t.Context(), locks, locks); err != nil || m.Decided != 1<<32 || n.forced != locks {
		t.Errorf("force: %+v, %v", m, err)
	}
}

// keys is a KV of values alone.
type keys struct {
	clientv3.KV
	m map[string]string
}

type txn struct {
	clientv3.Txn
	k          keys
	same       bool
	then, miss clientv3.Op
}

func (k keys) Txn(context.Context) clientv3.Txn { return &txn{k: k} }

func (x *txn) If(cs ...clientv3.Cmp) clientv3.Txn {
	c := cs[0].GetCompare()
	v, there := x.k.m[string(c.Key)]
	x.same = !there
	if c.Target == pb.Compare_VALUE {
		x.same = there && v == string(c.GetValue())
	}
	return x
}

func (x *txn) Then(ops ...clientv3.Op) clientv3.Txn { x.then = ops[0]; return x }
func (x *txn) Else(ops ...clientv3.Op) clientv3.Txn { x.miss = ops[0]; return x }

func (x *txn) Commit() (*clientv3.TxnResponse, error) {
	if x.same {
		_, err := x.k.Do(context.Background(), x.then)
		return &clientv3.TxnResponse{Succeeded: true}, err
	}
	r := &pb.RangeResponse{}
	if v, there := x.k.m[string(x.miss.KeyBytes())]; there {
		r.Kvs = []*mvccpb.KeyValue{{Value: []byte(v)}}
	}
	return &clientv3.TxnResponse{Responses: []*pb.ResponseOp{{Response: &pb.ResponseOp_ResponseRange{ResponseRange: r}}}}, nil
}

func (k keys) Do(_ context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	if op.IsDelete() {
		delete(k.m, string(op.KeyBytes()))
	} else {
		k.m[string(op.KeyBytes())] = string(op.ValueBytes())
	}
	return clientv3.OpResponse{}, nil
}

func TestReplay(t *testing.T) {
	write := func(id uint64, key, old, value string) admin.AsideWrite {
		w := admin.AsideWrite{ID: id, Key: []byte(key), New: []byte(value)}
		if old != "" {
			w.Old = []byte(old)
		}
		if value == "" {
			w.New, w.Deleted = nil, true
		}
		return w
	}
	n := &node{aside: []admin.AsideWrite{
		write(2, "twice", "1", "2"), write(3, "new", "", "x"), write(4, "twice", "2", "3"), write(5, "changed", "1", "2"),
		write(6, "there", "1", "2"), write(8, "dropped", "1", ""), write(9, "gone", "1", ""),
	}}
	c := start(t, n)
	kv := keys{m: map[string]string{"twice": "1", "changed": "other", "there": "2", "dropped": "1"}}
	got, err := c.Replay(t.Context(), kv, locks, nil, false)
	if !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "1 of 7") {
		t.Errorf("one key has changed: %v", err)
	}
	var results []string
	for _, r := range got {
		results = append(results, fmt.Sprint(r.ID, r.Result))
	}
	if s := strings.Join(results, " "); s != "2written 3written 4written 5changed 6same 8written 9same" {
		t.Errorf("got %s", s)
	}
	if fmt.Sprint(kv.m) != "map[changed:other new:x there:2 twice:3]" || fmt.Sprint(n.gone) != "[2 3 4 6 8 9]" {
		t.Errorf("keys %v, no longer kept %v", kv.m, n.gone)
	}
	if string(got[3].Now) != "other" || string(got[3].Kept) != "2" {
		t.Errorf("both values: %+v", got[3])
	}
	if got, err = c.Replay(t.Context(), kv, locks, []uint64{5}, true); err != nil || got[0].Result != "overwritten" || kv.m["changed"] != "2" {
		t.Errorf("overwrite: %+v, %v", got, err)
	}
	if _, err := c.Show(t.Context(), locks, 7); !errors.Is(err, ErrNoWrite) {
		t.Errorf("a number that is not there: %v", err)
	}
	if list, more, err := c.List(t.Context(), locks, 3); err != nil || len(list) != 3 || !more {
		t.Errorf("%d writes, %v, %v", len(list), more, err)
	}
	if done, err := c.Discard(t.Context(), locks, nil); err != nil || done != 7 {
		t.Errorf("discarded %d, %v", done, err)
	}
}
