package replication

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"geogate/replication/policy"
)

// mutualTLS makes a CA and one certificate that serves both ends.
func mutualTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}
}

func TestMutualTLS(t *testing.T) {
	conf := mutualTLS(t)
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
