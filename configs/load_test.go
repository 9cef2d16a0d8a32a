package configs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Two valid public keys for topologies in tests.
const (
	keyA = "UCIZ2H4GYDN6S3JFMODGEK5FVAQRDKFJC4US7PBBLBJTE4MJBTIP4YUT"
	keyB = "UAIILMBWGCYSK65U2RJBUZPFDAWUAG6YRBSSVRMD326RC27HFX4WQQKZ"
)

// minimal is the smallest topology; its lines are counted in the tests that append to it.
const minimal = `datacenters:
  - name: a
    nodes:
      - {name: n0, client: "h:1", raft: "h:2", admin: "h:3", dir: d}
`

func parse(t *testing.T, text string) *Topology {
	t.Helper()
	got, err := Parse("t.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestDefaults(t *testing.T) {
	got := parse(t, minimal)
	want := Default()
	if got.Policy != want.Policy || got.Limits != want.Limits || got.Timing != want.Timing || got.Log != want.Log || got.Cluster != want.Cluster {
		t.Errorf("a minimal topology differs from the defaults:\n%+v\n%+v", got, want)
	}
	if got.Datacenters[0].NATS.Mode != Embedded {
		t.Errorf("NATS mode %q, want embedded", got.Datacenters[0].NATS.Mode)
	}
	if err := Default().Validate(); !strings.Contains(err.Error(), "datacenters: is missing") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the defaults alone lack the datacenters and nothing else, got:\n%v", err)
	}
}

func TestValues(t *testing.T) {
	got := parse(t, minimal+`policy: {default: quorum, timeout: 1m30s, on_unreachable: wait}
limits: {outbox_bytes: 2GiB, publish_window_bytes: 1000000, max_txn_ops: 64, flush_interval: 20ms}
keyspaces:
  - {prefix: /a/, policy: all, timeout: 2s}
  - {prefix: /a/b/, policy: ASYNC}
`)
	if got.Policy.Default != "QUORUM" || got.Policy.Timeout != 90*time.Second || got.Policy.OnTimeout != Error {
		t.Errorf("policy %+v", got.Policy)
	}
	if l := got.Limits; l.OutboxBytes != 2<<30 || l.PublishWindowBytes != 1_000_000 || l.MaxTxnOps != 64 || l.FlushInterval != 20*time.Millisecond {
		t.Errorf("limits %+v", l)
	}
	for key, want := range map[string]Keyspace{
		"/a/x":   {Prefix: "/a/", Mode: MultiWriter, Policy: "ALL", Timeout: 2 * time.Second, OnUnreachable: Wait, OnTimeout: Error, MaxLag: MaxLag{OnExceed: Fail}, Degrade: Default().Policy.Degrade},
		"/a/b/x": {Prefix: "/a/b/", Mode: MultiWriter, Policy: "ASYNC", Timeout: 90 * time.Second, OnUnreachable: Wait, OnTimeout: Error, MaxLag: MaxLag{OnExceed: Fail}, Degrade: Default().Policy.Degrade},
		"/a":     {Prefix: "", Mode: MultiWriter, Policy: "QUORUM", Timeout: 90 * time.Second, OnUnreachable: Wait, OnTimeout: Error, MaxLag: MaxLag{OnExceed: Fail}, Degrade: Default().Policy.Degrade},
	} {
		if k := got.Keyspace(key); k != want {
			t.Errorf("keyspace of %q: %+v, want %+v", key, k, want)
		}
	}
	lag := parse(t, pair+`policy: {max_lag: {age: 30s, bytes: 1MiB}}
keyspaces: [{prefix: /a/, max_lag: {age: 1s, transactions: 5, on_exceed: wait}}]
`).Keyspace("/a/x").MaxLag
	if want := (MaxLag{Age: time.Second, Transactions: 5, Bytes: 1 << 20, OnExceed: Wait}); lag != want {
		t.Errorf("max_lag %+v, want %+v", lag, want)
	}
	down := parse(t, pair+`policy: {on_unreachable: degrade, degrade: {to: any, max_seconds: 60}}
keyspaces: [{prefix: /a/, degrade: {max_bytes: 1KiB, recover_after: 1s}}]
`).Keyspace("/a/x").Degrade
	if want := (Degrade{To: "ANY", MaxSeconds: 60, MaxBytes: 1 << 10, RecoverAfter: time.Second, RecoverLag: time.Second}); down != want {
		t.Errorf("degrade %+v, want %+v", down, want)
	}
	all := got.AllKeyspaces()
	if len(all) != 3 || all[0].Prefix != "/a/b/" || all[2].Prefix != "" || all[2].Policy != "QUORUM" {
		t.Errorf("all keyspaces %+v", all)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("GEOGATE_POLICY_DEFAULT", "ALL")
	t.Setenv("GEOGATE_LIMITS_OUTBOX_BYTES", "300MiB")
	t.Setenv("GEOGATE_TIMING_ELECTION_TICKS", "20")
	t.Setenv("GEOGATE_SECURITY_NATS_CERT", "")   // empty is unset
	t.Setenv("GEOGATE_PORT", "tcp://10.0.0.1:1") // an orchestrator's, no setting of ours
	got := parse(t, minimal+"policy: {default: ASYNC, timeout: 1s}\n")
	if got.Policy.Default != "ALL" || got.Policy.Timeout != time.Second || got.Limits.OutboxBytes != 300<<20 || got.Timing.ElectionTicks != 20 {
		t.Errorf("the environment must override the file and nothing else: %+v %+v %+v", got.Policy, got.Limits, got.Timing)
	}
}

func TestEnvironmentErrors(t *testing.T) {
	t.Setenv("GEOGATE_POLICY_DEFAULT", "MOST")
	t.Setenv("GEOGATE_TIMING_RAFT_TICK", "5")
	_, err := Parse("t.yaml", []byte(minimal))
	for _, want := range []string{
		`environment variable GEOGATE_POLICY_DEFAULT: policy.default: found "MOST", want one of ALL, QUORUM, ANY, ASYNC`,
		`environment variable GEOGATE_TIMING_RAFT_TICK: timing.raft_tick: found "5", want a duration`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in:\n%v", want, err)
		}
	}
}

func TestLoadResolvesPaths(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "t.yaml")
	text := strings.Replace(minimal, "dir: d", "dir: data/n0", 1) + "security: {client: {cert: c.pem, key: /abs/k.pem}}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := got.Datacenters[0].Nodes[0].Dir; d != filepath.Join(dir, "data/n0") {
		t.Errorf("dir %q is not below the file's folder", d)
	}
	if s := got.Security.Client; s.Cert != filepath.Join(dir, "c.pem") || s.Key != "/abs/k.pem" {
		t.Errorf("certificate paths %+v", s)
	}
	if _, err := Load(filepath.Join(dir, "absent.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestEncodeLoadsAgain(t *testing.T) {
	want := parse(t, string(Example))
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := parse(t, string(data)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if string(again) != string(data) {
		t.Errorf("encoding, loading and encoding again changed the topology:\n%s\n---\n%s", data, again)
	}
}

func TestEndpoints(t *testing.T) {
	got := parse(t, string(Example))
	for _, c := range []struct {
		from, to string
		want     Endpoint
		n        int
	}{
		{"eu-west", "us-east", Endpoint{"n0", "nats://203.0.113.7:30000"}, 3},          // the link
		{"us-east", "eu-west", Endpoint{"", "tls://nats.eu-west.example.com:4222"}, 1}, // external, peer URLs
		{"us-east", "us-east", Endpoint{"n0", "nats://10.1.0.10:4222"}, 3},             // the nodes' own
		{"us-east", "mars", Endpoint{}, 0},
	} {
		e := got.Endpoints(c.from, c.to)
		if len(e) != c.n || c.n > 0 && e[0] != c.want {
			t.Errorf("from %s to %s: %v, want %d beginning with %v", c.from, c.to, e, c.n, c.want)
		}
	}
}
