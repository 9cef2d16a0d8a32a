package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// testTLS is a certificate for the nodes' names, and the pool that trusts it.
func testTLS(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"node-1", "node-2"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	server = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return server, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
}

func TestTLS(t *testing.T) {
	server, client := testTLS(t)
	s := newSite(t, 2, func(c *Config) { c.TLS, c.ForwardTLS = server, client })
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"https://node-2:2379"}, Logger: zap.NewNop(), DialOptions: s.dialOptions(1), TLS: client,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Put(testContext(t), "a", "1"); err != nil { // node 2 forwards to node 1
		t.Error(err)
	}
	if n := counted(t, s.nodes[1].metrics.forwarded); n != 1 {
		t.Errorf("%v forwarded", n)
	}
}

func TestConfigRefused(t *testing.T) {
	fake := fakeNode{newFakeData("dc-a", 1), 1}
	for name, change := range map[string]func(*Config){
		"no listener":           func(c *Config) { c.Listener = nil },
		"no datacenter":         func(c *Config) { c.Datacenter = nil },
		"no cluster id":         func(c *Config) { c.ClusterID = 0 },
		"not a member":          func(c *Config) { c.MemberID = 9 },
		"member twice":          func(c *Config) { c.Members = []Member{{ID: 1}, {ID: 1}} },
		"member without id":     func(c *Config) { c.Members = append(c.Members, Member{}) },
		"nowhere to forward to": func(c *Config) { c.Members = append(c.Members, Member{ID: 2}) },
		"address with a scheme": func(c *Config) { c.Members[0].ClientAddr = "http://x:1" },
		"TLS one way":           func(c *Config) { c.TLS = &tls.Config{MinVersion: tls.VersionTLS12} },
		"progress too often":    func(c *Config) { c.ProgressInterval = time.Millisecond },
		"negative time":         func(c *Config) { c.StopTimeout = -1 },
		"single-writer":         func(c *Config) { c.Keyspaces = []Keyspace{{Prefix: "a", Mode: SingleWriter}} },
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfg := Config{
			Listener: l, ClusterID: 1, MemberID: 1, Members: []Member{{ID: 1}}, Datacenter: fake, Inspector: fake, Replication: nobody{},
		}
		change(&cfg)
		if _, err := New(cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKillBeforeRunGivesThePortBack(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fake := fakeNode{newFakeData("dc-a", 1), 1}
	s, err := New(Config{
		Listener: l, ClusterID: 1, MemberID: 1, Members: []Member{{ID: 1}}, Datacenter: fake, Inspector: fake, Replication: nobody{},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Kill()
	again, err := net.Listen("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
	if err := s.Run(t.Context()); err != nil {
		t.Errorf("run of a killed server: %v", err)
	}
}
