package replication

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"geogate/replication/policy"
)

func TestConfigRefuses(t *testing.T) {
	c := prepareCluster(t, nil, "a", "b")
	good := c.config("a", "n1", t.TempDir())
	if err := good.validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no name":              func(c *Config) { c.Local = "" },
		"no node":              func(c *Config) { c.Node = "" },
		"no chain":             func(c *Config) { c.Chain = nil },
		"no NATS":              func(c *Config) { c.NATS = NATS{} },
		"both NATS":            func(c *Config) { c.NATS.External = &External{URLs: []string{"x"}} },
		"external without URL": func(c *Config) { c.NATS = NATS{External: &External{}} },
		"no directory":         func(c *Config) { c.NATS = NATS{Embedded: &Embedded{ListenAddr: ":0"}} },
		"bad address":          func(c *Config) { c.NATS = NATS{Embedded: &Embedded{ListenAddr: "x", StoreDir: "x"}} },
		"bad port":             func(c *Config) { c.NATS = NATS{Embedded: &Embedded{ListenAddr: "x:99999", StoreDir: "x"}} },
		"small stream":         func(c *Config) { c.NATS.Embedded.MaxBytes = 1 << 20 },
		"peer is local":        func(c *Config) { c.Peers[0].Name = "a" },
		"peer without key":     func(c *Config) { c.Peers[0].PublicKey = "" },
		"peer without way":     func(c *Config) { c.Peers[0].Endpoints = nil },
		"endpoint without URL": func(c *Config) { c.Peers[0].Endpoints = []Endpoint{{Node: "n1"}} },
		"peer twice":           func(c *Config) { c.Peers = append(c.Peers, c.Peers[0]) },
		"expiry":               func(c *Config) { c.PullExpiry = 1 },
		"suspicion":            func(c *Config) { c.HeartbeatInterval = time.Second },
		"retries":              func(c *Config) { c.RetryMax = 1 },
		"parts":                func(c *Config) { c.PartBytes = 10 },
		"negative time":        func(c *Config) { c.StallAfter = -1 },
		"negative size":        func(c *Config) { c.ReadBytes = -1 },
		"health":               func(c *Config) { c.Health.DownAfter = 1 },
		"index":                func(c *Config) { c.IndexEntries = 1 },
	} {
		cfg := c.config("a", "n1", t.TempDir())
		spoil(&cfg)
		if err := cfg.validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokensDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"a", "A", "a.b", "a b", "a*b", "a>b", "a=2eb", "a/b", "ä", "a_b", "a-b", "=", "=3d"} {
		tok := token(name)
		if other, taken := seen[tok]; taken {
			t.Errorf("%q and %q share %q", name, other, tok)
		}
		seen[tok] = name
		if strings.ContainsAny(tok, ". *>/\\\t") {
			t.Errorf("%q became %q", name, tok)
		}
	}
	if lastToken(ackSubject("a.b", "c.d")) != token("c.d") {
		t.Error("the peer cannot be read back")
	}
}

func TestNamesWithOddCharacters(t *testing.T) {
	c := newCluster(t, nil, "eu.west 1", "us/east>2")
	rev := c.dcs["eu.west 1"].write(t, []byte("x"))
	if _, err := c.engine("eu.west 1").Wait(within(t, 10*time.Second), rev, policy.All); err != nil {
		t.Fatal(err)
	}
	c.settle(5 * time.Second)
}

func TestMetrics(t *testing.T) {
	regs := map[string]*prometheus.Registry{"a": prometheus.NewRegistry(), "b": prometheus.NewRegistry()}
	c := prepareCluster(t, func(cfg *Config) { cfg.Registerer = regs[cfg.Local] }, "a", "b")
	c.start("a", "n1")
	c.nodes["a"]["n1"].lead(1)
	scrape := func(dc string) string {
		w := httptest.NewRecorder()
		promhttp.HandlerFor(regs[dc], promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		b, err := io.ReadAll(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	rev := c.dcs["a"].write(t, []byte("x"))
	if text := scrape("a"); strings.Contains(text, "geogate_replication_lag_seconds{") {
		t.Errorf("the lag of a peer that never spoke has a sample:\n%s", text)
	}
	c.start("b", "n1")
	c.nodes["b"]["n1"].lead(1)
	if _, err := c.engine("a").Wait(within(t, 10*time.Second), rev, policy.All); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "all is seen in the metrics", func() bool {
		a, b := scrape("a"), scrape("b")
		for _, want := range []string{
			`geogate_replication_lag_seconds{peer="b"} 0`, `geogate_replication_lag_txns{peer="b"} 0`, `geogate_replication_lag_bytes{peer="b"} 0`,
			`geogate_replication_health_state{peer="b",state="healthy"} 1`, `geogate_replication_health_state{peer="b",state="down"} 0`,
			`geogate_replication_frames_shipped_total{source="live"} 1`, `geogate_replication_rtt_seconds{peer="b"}`,
			`geogate_clock_skew_seconds{peer="b"}`, `geogate_replication_acks_received_total{peer="b"}`,
			`geogate_replication_handshakes_total{peer="b",status="SYNC_OK"}`, `geogate_replication_receiver_up{origin="b"} 1`,
		} {
			if !strings.Contains(a, want) {
				return false
			}
		}
		return strings.Contains(b, `geogate_replication_frames_received_total{origin="a"} 1`)
	})
	c.nodes["a"]["n1"].stop()
	if text := scrape("a"); text != "" {
		t.Errorf("closed, but still registered:\n%s", text)
	}
}
