package status

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const sample = `{"dc":"us-east","node":"n0","leader":"n0","term":3,"revision":42,"vector":{"us-east":42,"eu-west":7},
 "peers":[
  {"dc":"ap-south","health":"down","reason":"silent for 4s","cause":"link broken","cause_detail":"eu-west hears it","acked_revision":null,"lag_txns":null,"lag_bytes":null,"lag_seconds":null,"rtt_ms":null,"last_contact_seconds":null},
  {"dc":"eu-west","health":"healthy","reason":"","acked_revision":40,"lag_txns":2,"lag_bytes":2048,"lag_seconds":0.0125,"rtt_ms":60.4,"skew_ms":-3.2,"last_contact_seconds":0.1,
   "verify":{"state":"different","reason":"","buckets":4096,"equal":4090,"pending":5,"different":1,"different_keys":3,"last_ok_age_seconds":null,
   "different_keyspaces":{"app/":1,"":1},"different_system_entries":1}}],
 "clock":{"state":"within","ahead_ms":3.2,"limit_ms":500,"since":null,"refused":""},
 "members":[{"id":"00000000000000aa","name":"n0","role":"leader","peer_urls":["http://h:2"],"client_urls":["http://h:1"]},
  {"id":"00000000000000bb","name":"","role":"learner","peer_urls":["http://i:2"],"client_urls":[]}],
 "keys": 12}`

// answering serves body at /v1/status.
func answering(t *testing.T, code int, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/status" {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestFetch(t *testing.T) {
	r, raw, err := Fetch(context.Background(), answering(t, http.StatusOK, sample))
	if err != nil {
		t.Fatal(err)
	}
	if string(raw) != sample {
		t.Error("the JSON is not what the node sent")
	}
	if !r.Leading() || r.Revision != 42 || r.Vector["eu-west"] != 7 || r.Peers[0].LagTxns != nil || *r.Peers[1].LagTxns != 2 {
		t.Errorf("%+v", r)
	}
	var out strings.Builder
	if err := r.WriteStatus(&out); err != nil {
		t.Fatal(err)
	}
	want := `DC       NODE  LEADER  TERM  REVISION  VECTOR
us-east  n0    n0      3     42        eu-west:7 us-east:42

MEMBER         ID                ROLE     RAFT        CLIENTS
n0             00000000000000aa  leader   http://h:2  http://h:1
(not started)  00000000000000bb  learner  http://i:2
clock: 3ms ahead of the median of the peers

PEER      HEALTH   ACKED  LAG TXNS  LAG BYTES  LAG SECONDS  RTT     SKEW  LAST CONTACT  REASON
ap-south  down     ?      ?         ?          ?            ?       ?     ?             silent for 4s; link broken: eu-west hears it
eu-west   healthy  40     2         2.0 KiB    0.013        60.4ms  -3ms  0.1s ago

PEER     DATA       EQUAL      PENDING  DIFFERENT  KEYS  ALL PROVEN  REASON
eu-west  different  4090/4096  5        1          3     ?           keys that differ by keyspace: "" 1, "app/" 1, system table 1
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestNoPeers(t *testing.T) {
	for want, r := range map[string]Report{
		"no peers: the cluster has one datacenter":     {DC: "a", Node: "n0", Leader: "n0", Peers: []Peer{}},
		"peers unknown: the leader n1 does not answer": {DC: "a", Node: "n0", Leader: "n1", PeersError: "the leader n1 does not answer"},
		"peers unknown: a has no leader now":           {DC: "a", Node: "n0"},
		"peers unknown: n0 does not lead a; ask n1":    {DC: "a", Node: "n0", Leader: "n1"},
	} {
		var out strings.Builder
		if err := r.WriteLag(&out); err != nil || !strings.HasPrefix(out.String(), want) {
			t.Errorf("got %q, %v; want %q", out.String(), err, want)
		}
	}
}

func TestFetchErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := l.Addr().String()
	_ = l.Close()
	for name, c := range map[string]struct{ endpoint, want string }{
		"nobody there":   {silent, "nothing listens at " + silent + "; give --endpoint the admin address"},
		"no port":        {"localhost", `the endpoint "localhost" is not host:port`},
		"something else": {answering(t, http.StatusOK, "<html>"), "is not a geogate status"},
		"an error":       {answering(t, http.StatusServiceUnavailable, "starting"), "HTTP 503 Service Unavailable: starting"},
	} {
		if _, _, err := Fetch(context.Background(), c.endpoint); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
