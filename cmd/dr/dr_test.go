package dr

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"geogate/gateway/admin"
	"geogate/replication"
	"geogate/replication/registrar"
)

const locks = "/locks/"

// node is an admin API with one keyspace.
type node struct {
	looks  int // at the moves
	end    registrar.MoveStatus
	kv     keys
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
	case "/v1/dr/quarantine/key":
		key, _ := base64.URLEncoding.DecodeString(r.URL.Query().Get("key"))
		report := admin.KeyReport{DC: "a", Cluster: "2a"}
		if v, there := n.kv.m[string(key)]; there {
			report.KeyState, report.ModRevision = v.is, v.mod
		}
		answer = report
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
