package test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	mathbig "math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"gopkg.in/yaml.v3"

	"geogate/configs"
	"geogate/test/cluster"
)

// authority signs certificates for this machine.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64 // serial
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), last: 1}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: mathbig.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.write(a.ca(), "CERTIFICATE", der)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) ca() string { return filepath.Join(a.dir, "ca.pem") }

// write puts a whole file in its place, as tools that renew certificates do.
func (a *authority) write(path, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes a certificate, and returns its serial.
func (a *authority) issue(name string) (configs.TLS, int64) {
	a.t.Helper()
	a.last++
	key := newKey(a.t)
	template := &x509.Certificate{
		SerialNumber: mathbig.NewInt(a.last), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	files := configs.TLS{Cert: filepath.Join(a.dir, name+".pem"), Key: filepath.Join(a.dir, name+".key"), CA: a.ca()}
	a.write(files.Key, "PRIVATE KEY", secret)
	a.write(files.Cert, "CERTIFICATE", der)
	return files, a.last
}

// TestTLSEverywhere runs two datacenters in which every port but admin demands a certificate.
func TestTLSEverywhere(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	client, _ := ca.issue("client")
	for _, name := range []string{"server", "raft", "nats"} {
		ca.issue(name)
	}
	s, app := securityOfReadme(t, ca.dir)
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:2], Nodes: 3, Edit: func(tp *configs.Topology) {
		tp.Datacenters[1].Nodes = tp.Datacenters[1].Nodes[:1]
		tp.Links = nil
		tp.Security, tp.Policy.Default = s, "QUORUM"
	}})
	ctl := func(args ...string) []string {
		return append(slices.Clone(app), args...)
	}
	at := func(dc, node string) string { return "--endpoints=https://" + c.Node(dc, node).Spec.Client }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch := exec.CommandContext(ctx, etcdctl(t), ctl(at("eu-west", "n0"), "watch", "k", "--rev=1")...)
	events, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"n0", "n1", "n2"} { // two of them forward
		if out, err := output(t, etcdctl(t), ctl(at("us-east", node), "put", "k", "by "+node)...); err != nil || !strings.Contains(out, "OK") {
			t.Fatal(err, out)
		}
	}
	c.WaitEqual(20 * time.Second)
	if out, err := output(t, etcdctl(t), ctl(at("eu-west", "n0"), "get", "k")...); err != nil || out != "k\nby n2\n" {
		t.Error(err, out)
	}
	lines := bufio.NewScanner(events)
	for seen := ""; !strings.Contains(seen, "by n2"); seen += lines.Text() + "\n" {
		if !lines.Scan() {
			t.Fatalf("the watch ended after %q", seen)
		}
	}
	cancel()
	_ = watch.Wait() // was killed
	if out, err := output(t, cluster.Binary(t), "status", "--endpoint", c.Node("us-east", "n0").Spec.Admin); err != nil || !strings.Contains(out, "healthy") {
		t.Error(err, out)
	}
	checkHTTPS(t, c.Node("us-east", "n0"), client)
	checkNoCertificate(t, c.Node("us-east", "n0"), client)
	checkRenewal(t, c, ca, client)
}

// securityOfReadme is the README's example with its files in dir, and etcdctl's flags for it.
func securityOfReadme(t *testing.T, dir string) (s configs.Security, flags []string) {
	t.Helper()
	for _, x := range examples(t) {
		body := strings.ReplaceAll(x.body, "tls/", dir+"/")
		switch x.name {
		case "tls":
			var part struct{ Security *configs.Security }
			part.Security = &s
			if err := yaml.Unmarshal([]byte(body), &part); err != nil {
				t.Fatal(err)
			}
		case "tlsctl":
			for _, word := range strings.Fields(body) {
				if strings.Contains(word, dir) {
					flags = append(flags, word)
				}
			}
		}
	}
	if len(flags) != 3 || !s.Client.Enabled() || !s.Raft.Enabled() || !s.NATS.Enabled() {
		t.Fatalf("README.md has no TLS everywhere: %v, %+v", flags, s)
	}
	return s, flags
}

// dialer is a TLS configuration of a client; without a certificate when bare.
func dialer(t *testing.T, files configs.TLS, bare bool) *tls.Config {
	t.Helper()
	cfg, err := files.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if bare {
		cfg.GetClientCertificate = nil
	}
	return cfg
}

func checkHTTPS(t *testing.T, p *cluster.Process, client configs.TLS) {
	t.Helper()
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: dialer(t, client, false)}, Timeout: 10 * time.Second}
	defer h.CloseIdleConnections()
	r, err := h.Post("https://"+p.Spec.Client+"/v3/kv/range", "application/json", strings.NewReader(`{"key":"aw=="}`))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || r.StatusCode != 200 || !strings.Contains(string(b), `"value":"YnkgbjI="`) {
		t.Errorf("%s %s, %v", r.Status, b, err)
	}
}

// checkNoCertificate: who shows no certificate learns that it is what is missing.
func checkNoCertificate(t *testing.T, p *cluster.Process, client configs.TLS) {
	t.Helper()
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: dialer(t, client, true)}, Timeout: 10 * time.Second}
	defer h.CloseIdleConnections()
	r, err := h.Get("https://" + p.Spec.Client + "/version")
	if err == nil {
		_ = r.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("HTTPS without a certificate: %v", err)
	}
	out, err := output(t, etcdctl(t), "--cacert="+client.CA, "--endpoints=https://"+p.Spec.Client, "--command-timeout=2s", "put", "k", "v")
	if err == nil || !strings.Contains(out, "certificate required") {
		t.Errorf("etcdctl without a certificate: %v, %s", err, out)
	}
	out, err = output(t, etcdctl(t), "--endpoints=http://"+p.Spec.Client, "--command-timeout=2s", "put", "k", "v")
	if err == nil {
		t.Errorf("etcdctl in the clear: %s", out)
	}
}

// checkRenewal: a certificate that is renewed on disk is shown to the next connection, on every port, without a
// restart; a broken one is not.
func checkRenewal(t *testing.T, c *cluster.Cluster, ca *authority, client configs.TLS) {
	t.Helper()
	p := c.Node("us-east", "n0")
	serials := map[string]func() int64{
		"server": func() int64 { return serialAt(t, p.Spec.Client, client) },
		"raft":   func() int64 { return serialAt(t, p.Spec.Raft, client) },
		"nats":   func() int64 { return natsSerial(t, p.Spec.NATS, client) },
	}
	for name, shown := range serials {
		before := shown()
		files, want := ca.issue(name)
		if got := shown(); got != want || got == before {
			t.Errorf("%s: serial %d is shown, before %d, on disk %d", name, got, before, want)
		}
		if err := os.WriteFile(files.Cert, []byte("half of a file"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := shown(); got != want {
			t.Errorf("%s: serial %d is shown while the file is broken, want %d", name, got, want)
		}
		if _, want = ca.issue(name); shown() != want {
			t.Errorf("%s: not renewed after the file was broken", name)
		}
	}
	follower := c.Node("us-east", "n1")
	if c.Leader("us-east") == follower {
		follower = c.Node("us-east", "n2")
	}
	if err := follower.Stop(); err != nil {
		t.Error(err)
	}
	follower.Start() // whom the others know by the old certificate
	c.WaitEqual(20 * time.Second)
}

// serialAt is that of the certificate which a port shows.
func serialAt(t *testing.T, addr string, client configs.TLS) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, dialer(t, client, false))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// natsSerial is the same on a NATS port, which speaks before TLS begins. This client may not log in there.
func natsSerial(t *testing.T, addr string, client configs.TLS) (serial int64) {
	t.Helper()
	cfg := dialer(t, client, false)
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		serial = s.PeerCertificates[0].SerialNumber.Int64()
		return nil
	}
	if conn, err := nats.Connect("nats://"+addr, nats.Secure(cfg)); err == nil {
		conn.Close()
		t.Error("a client without credentials was let in")
	}
	return serial
}

// TestCertificateIsFoundFirst: a wrong path is told, by its name, before any data is opened.
func TestCertificateIsFoundFirst(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for _, part := range []string{"client", "raft", "nats"} {
		absent := filepath.Join(ca.dir, "absent-"+part+".pem")
		c := cluster.Prepare(t, cluster.Options{DCs: allDCs[:1], Edit: func(tp *configs.Topology) {
			good, _ := ca.issue(part)
			to := map[string]*configs.TLS{"client": &tp.Security.Client, "raft": &tp.Security.Raft, "nats": &tp.Security.NATS}[part]
			*to = good
			to.Cert = absent
		}})
		p := c.Node("us-east", "n0")
		p.Start()
		log, err := p.WaitExit(20 * time.Second)
		if exitCode(err) != 1 || !strings.Contains(log, "security."+part) || !strings.Contains(log, absent) {
			t.Errorf("%s: %v, %s", part, err, log)
		}
		if _, err := os.Stat(p.Spec.Dir); !os.IsNotExist(err) {
			t.Errorf("%s: data was opened: %v", part, err)
		}
	}
}
