package replication

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"geogate/replication/policy"
	"geogate/test/certs"
)

// mutualTLS makes a CA and one certificate that serves both ends.

func TestMutualTLS(t *testing.T) {
	conf := certs.Mutual(t)
	c := newCluster(t, func(cfg *Config) { cfg.NATS.Embedded.TLS, cfg.DialTLS = conf, conf }, "a", "b")
	rev := c.dcs["a"].write(t, []byte("x"))
	if _, err := c.engine("a").Wait(within(t, 10*time.Second), rev, policy.All); err != nil {
		t.Fatal(err)
	}
	c.settle(5 * time.Second)
	if _, err := dialAs(t, c.engine("a"), c.keys["b"]); err == nil {
		t.Error("b's key without TLS was let in")
	}
	bare := &tls.Config{RootCAs: conf.RootCAs, MinVersion: tls.VersionTLS13}
	key := c.keys["b"]
	nc, err := nats.Connect("nats://"+c.engine("a").Addr(), nats.Nkey(public(t, key), key.Sign), nats.Secure(bare), nats.NoReconnect())
	if err == nil {
		nc.Close()
		t.Error("b's key without a certificate was let in")
	}
}
