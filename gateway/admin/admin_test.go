package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"geogate/dc"
	"geogate/gateway"
	"geogate/replication"
	"geogate/replication/event"
	"geogate/replication/health"
	"geogate/replication/verify"
)

// fake is what one node knows.
type fake struct {
	id      uint64
	leader  *atomic.Uint64 // of the datacenter
	ready   error
	problem string
}

func (f *fake) Leading() (uint64, bool)            { return 3, f.leader.Load() == f.id }
func (f *fake) Leader() uint64                     { return f.leader.Load() }
func (f *fake) LeadershipChanged() <-chan struct{} { return nil }

func (f *fake) State() gateway.State {
	return gateway.State{
		Term: 3, Leader: f.leader.Load(), Commit: 9, Applied: 8, Revision: 7, Keys: 2, Problem: f.problem,
		Incarnation: 0xfeed_0000_0000_0001, Digest: 1<<63 + 1, Vector: event.Vector{"dc-a": 7, "dc-b": 4},
	}
}

func (f *fake) Peers() []replication.PeerStatus {
	at := func(s int) time.Time { return time.Unix(int64(s), 0).UTC() }
	return []replication.PeerStatus{
		{DC: "dc-b", Health: "healthy", Acked: new(int64(7)), LagTxns: new(int64(0)), HealthEvents: []health.Event{
			{At: at(1), From: health.Suspected, To: health.Healthy, Reason: "heard from"},
			{At: at(3), From: health.Healthy, To: health.Suspected, Reason: "silent"},
		}},
		{DC: "dc-c", Health: "suspected", Reason: "not heard from yet", HealthEvents: []health.Event{
			{At: at(2), From: health.Healthy, To: health.Down, Reason: "silent"},
		}},
	}
}

func (f *fake) Conflicts(limit int) ([]dc.Conflict, uint64, error) {
	all := []dc.Conflict{
		{Key: []byte("a"), Winner: dc.Side{Origin: "dc-b", Revision: 4}, Loser: dc.Side{Origin: "dc-a", Revision: 5}, Value: []byte("lost")},
		{Key: []byte{0xff}, Winner: dc.Side{Origin: "dc-b", Revision: 3}},
	}
	return all[:min(limit, len(all))], 12, nil
}

func (f *fake) Keyspaces() []gateway.KeyspaceStatus {
	return []gateway.KeyspaceStatus{{MaxLag: &gateway.BudgetStatus{Transactions: 5, OnExceed: gateway.ExceedFail}}}
}

func (f *fake) Verify(run bool) []replication.Verification {
	state := "pending"
	if run {
		state = "different"
	}
	return []replication.Verification{{DC: "dc-b", VerifyStatus: replication.VerifyStatus{State: state}, Differences: []replication.Difference{
		{Here: verify.Copy{Key: []byte("k"), Known: true, Live: true, Hash: 1<<63 + 1, Stamp: 1<<63 + 1}, There: verify.Copy{Key: []byte("k")}},
	}}}
}

func (f *fake) RepairKey(_ context.Context, from string, seen verify.Copy) (bool, error) {
	if from != "dc-b" {
		return false, errors.New("no such peer")
	}
	return string(seen.Key) == "k" && seen.Hash == 1<<63+1, nil
}

func (f *fake) PolicyEvents() []gateway.PolicyEvent {
	return []gateway.PolicyEvent{{At: time.Unix(4, 0).UTC(), Keyspace: "k/", From: "QUORUM", To: "ASYNC", Reason: "dc-b is down"}}
}

// start serves n nodes; node 1 leads.
func start(t *testing.T, n int) ([]*fake, []string) {
	t.Helper()
	var (
		fakes   []*fake
		urls    []string
		lines   []net.Listener
		members []gateway.Member
		leader  atomic.Uint64
	)
	leader.Store(1)
	for id := 1; id <= n; id++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
		urls = append(urls, "http://"+l.Addr().String())
		members = append(members, gateway.Member{ID: uint64(id), Name: fmt.Sprintf("node-%d", id), AdminURL: urls[id-1]})
		fakes = append(fakes, &fake{id: uint64(id), leader: &leader})
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "geogate_test", Help: "x"}))
	for i, f := range fakes {
		s, err := New(Config{
			Listener: lines[i], DC: "dc-a", MemberID: f.id, Members: func() []gateway.Member { return members }, Inspector: f, Leadership: f, Peers: f,
			Conflicts: f, Keyspaces: f, Verification: f, Ready: func(context.Context) error { return f.ready }, Gatherer: reg, AskTimeout: 5 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	return fakes, urls
}

func get(t *testing.T, url string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return m
}

func TestStatus(t *testing.T) {
	_, urls := start(t, 2)
	for i, url := range urls {
		code, body := get(t, url+"/v1/status")
		m := decode(t, body)
		for key, want := range map[string]any{
			"dc": "dc-a", "node": fmt.Sprintf("node-%d", i+1), "leader": "node-1", "term": 3.0, "revision": 7.0,
			"digest": "8000000000000001", "incarnation": "feed000000000001", "applied_index": 8.0,
		} {
			if m[key] != want {
				t.Errorf("node %d: %s is %v, want %v", i+1, key, m[key], want)
			}
		}
		if v := m["vector"].(map[string]any); code != http.StatusOK || v["dc-b"] != 4.0 {
			t.Errorf("node %d: HTTP %d, vector %v", i+1, code, v)
		}
		spaces, _ := m["keyspaces"].([]any)
		if len(spaces) != 1 {
			t.Fatalf("node %d: keyspaces %v", i+1, m["keyspaces"])
		}
		budget, _ := spaces[0].(map[string]any)["max_lag"].(map[string]any)
		if used, there := budget["used_ratio"]; !there || used != nil || budget["transactions"] != 5.0 {
			t.Errorf("node %d: a ratio that is unknown must be null: %v", i+1, budget)
		}
		peers, _ := m["peers"].([]any)
		if len(peers) != 2 {
			t.Fatalf("node %d: peers %v", i+1, m["peers"])
		}
		b, c := peers[0].(map[string]any), peers[1].(map[string]any)
		if b["dc"] != "dc-b" || b["lag_txns"] != 0.0 || b["acked_revision"] != 7.0 || b["health_events"] != nil {
			t.Errorf("node %d: known peer %v", i+1, b)
		}
		for _, key := range []string{"acked_revision", "lag_txns", "lag_bytes", "lag_seconds", "rtt_ms", "last_contact_seconds"} {
			if v, there := c[key]; !there || v != nil {
				t.Errorf("node %d: what is unknown of a peer must be null: %s is %v, %v", i+1, key, v, there)
			}
		}
	}
}

func TestStatusWithoutTheLeader(t *testing.T) {
	fakes, urls := start(t, 2)
	for name, c := range map[string]struct {
		leader uint64
		header []string
		want   string
	}{
		"no leader":       {0, nil, "no leader is known"},
		"unknown leader":  {9, nil, "not among the members"},
		"asked in a loop": {1, []string{forwardedHeader, "node-1"}, "does not lead"},
	} {
		fakes[1].leader.Store(c.leader)
		code, body := get(t, urls[1]+"/v1/status", c.header...)
		m := decode(t, body)
		if peers, there := m["peers"]; code != http.StatusOK || !there || peers != nil {
			t.Errorf("%s: HTTP %d, peers %v", name, code, peers)
		}
		if text := fmt.Sprint(m["peers_error"]); !strings.Contains(text, c.want) {
			t.Errorf("%s: %s, want %q", name, text, c.want)
		}
	}
}

func TestStatusOfAStuckLeader(t *testing.T) {
	stuck, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stuck.Close() }()
	var leader atomic.Uint64
	leader.Store(2)
	f := &fake{id: 1, leader: &leader}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{
		Listener: l, DC: "dc-a", MemberID: 1, Inspector: f, Leadership: f, Peers: f, Conflicts: f,
		Members: func() []gateway.Member {
			return []gateway.Member{{ID: 1, Name: "node-1"}, {ID: 2, Name: "node-2", AdminURL: "http://" + stuck.Addr().String()}}
		},
		Ready: func(context.Context) error { return nil }, AskTimeout: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	_, body := get(t, "http://"+l.Addr().String()+"/v1/status")
	if m := decode(t, body); m["peers"] != nil || !strings.Contains(fmt.Sprint(m["peers_error"]), "ask the leader node-2") {
		t.Errorf("got %s", body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestEvents(t *testing.T) {
	_, urls := start(t, 2)
	for i, url := range urls {
		_, body := get(t, url+"/v1/events?limit=3")
		events, _ := decode(t, body)["events"].([]any)
		if len(events) != 3 {
			t.Fatalf("node %d: %s", i+1, body)
		}
		if p := events[0].(map[string]any); p["keyspace"] != "k/" || p["dc"] != "dc-a" || p["from"] != "QUORUM" || p["to"] != "ASYNC" {
			t.Errorf("node %d: change of a policy: %v", i+1, p)
		}
		first, second := events[1].(map[string]any), events[2].(map[string]any)
		if _, there := first["keyspace"]; there {
			t.Errorf("node %d: a change of health names a keyspace: %v", i+1, first)
		}
		if first["dc"] != "dc-b" || first["to"] != "suspected" || first["reason"] != "silent" || second["dc"] != "dc-c" || second["to"] != "down" {
			t.Errorf("node %d: newest first: %v", i+1, events)
		}
	}
}

func TestConflicts(t *testing.T) {
	_, urls := start(t, 1)
	_, body := get(t, urls[0]+"/v1/conflicts")
	m := decode(t, body)
	list := m["conflicts"].([]any)
	first, second := list[0].(map[string]any), list[1].(map[string]any)
	if m["total"] != 12.0 || first["key_text"] != "a" || first["value_text"] != "lost" || second["key"] != "/w==" || second["key_text"] != nil {
		t.Errorf("got %s", body)
	}
	for _, bad := range []string{"0", "-1", "x", "10001"} {
		if code, body := get(t, urls[0]+"/v1/conflicts?limit="+bad); code != http.StatusBadRequest || !strings.Contains(body, "from 1 to 10000") {
			t.Errorf("limit %s: %d %s", bad, code, body)
		}
	}
}

// TestVerify asks for the comparison, and repairs what it names, at the leader and through a follower.
func TestVerify(t *testing.T) {
	_, urls := start(t, 2)
	for i, url := range urls {
		_, body := get(t, url+"/v1/verify?run=true")
		var answer struct{ Peers []replication.Verification }
		if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Peers) != 1 || answer.Peers[0].State != "different" {
			t.Fatalf("node %d: %v: %s", i+1, err, body)
		}
		for from, want := range map[string]string{"dc-b": `"applied": true`, "dc-x": "no such peer"} {
			b, err := json.Marshal(Repair{From: from, Seen: answer.Peers[0].Differences[0].Here})
			if err != nil {
				t.Fatal(err)
			}
			if text := post(t, url+"/v1/repair", string(b)); !strings.Contains(text, want) {
				t.Errorf("node %d: repair from %s: %s", i+1, from, text)
			}
		}
		if text := post(t, url+"/v1/repair", "{}"); !strings.Contains(text, "not a repair") {
			t.Errorf("node %d: %s", i+1, text)
		}
	}
}

func post(t *testing.T, url, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReady(t *testing.T) {
	fakes, urls := start(t, 1)
	check := func(name string, code int, text string) {
		t.Helper()
		if gotCode, body := get(t, urls[0]+"/readyz"); gotCode != code || !strings.Contains(body, text) {
			t.Errorf("%s: %d %s", name, gotCode, body)
		}
		if code, _ := get(t, urls[0]+"/healthz"); code != http.StatusOK {
			t.Errorf("%s: healthz %d", name, code)
		}
	}
	check("all well", http.StatusOK, "ready")
	fakes[0].ready = errors.New("read index: timed out")
	check("behind", http.StatusServiceUnavailable, "could not be confirmed and applied here within 5s: read index: timed out")
	fakes[0].problem = "disk is full"
	check("problem", http.StatusServiceUnavailable, "disk is full")
	fakes[0].leader.Store(0)
	check("problem and no leader", http.StatusServiceUnavailable, "disk is full")
	fakes[0].problem = ""
	check("no leader", http.StatusServiceUnavailable, "no leader is known")
}

// Where no keyspace has a home, the answer says so.
func TestWithoutHomes(t *testing.T) {
	_, urls := start(t, 1)
	for _, path := range []string{"/v1/dr", "/v1/dr/ledger?keyspace=k/"} {
		if code, text := get(t, urls[0]+path); code != http.StatusNotFound || !strings.Contains(text, "no keyspace of this cluster is single-writer") {
			t.Errorf("%s: %d %q", path, code, text)
		}
	}
}

func TestMetricsAndProfiles(t *testing.T) {
	_, urls := start(t, 1)
	for path, want := range map[string]string{"/metrics": "geogate_test", "/debug/pprof/": "goroutine", "/debug/pprof/cmdline": "admin"} {
		if code, body := get(t, urls[0]+path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.100s", path, code, body)
		}
	}
	if code, _ := get(t, urls[0]+"/nothing"); code != http.StatusNotFound {
		t.Errorf("unknown path: %d", code)
	}
}

func TestConfig(t *testing.T) {
	if _, err := New(Config{}); !errors.Is(err, ErrConfig) {
		t.Errorf("got %v", err)
	}
}
