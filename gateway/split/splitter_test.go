package split

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
)

const waitLimit = 10 * time.Second

// both serves gRPC's health service and an HTTP handler on one port; the handler answers with the protocol.
func both(t *testing.T, c Config) (addr string, seen chan credentials.AuthInfo) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Listener = l
	s := New(c)
	seen = make(chan credentials.AuthInfo, 1)
	g := grpc.NewServer(grpc.Creds(s.Credentials()), grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			p, _ := peer.FromContext(ctx)
			seen <- p.AuthInfo
			return next(ctx, req)
		}))
	grpc_health_v1.RegisterHealthServer(g, health.NewServer())
	h := &http.Server{ReadHeaderTimeout: waitLimit, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Method+" "+r.Proto)
	})}
	done := make(chan error, 3)
	go func() { done <- s.Run() }()
	go func() { done <- g.Serve(s.GRPC()) }()
	go func() { done <- h.Serve(s.HTTP()) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		g.Stop()
		_ = h.Close()
		for range 3 {
			if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		}
	})
	return l.Addr().String(), seen
}

func check(t *testing.T, addr string, creds credentials.TransportCredentials) {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Errorf("gRPC: %v", err)
	}
}

func get(t *testing.T, client *http.Client, method, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestPlainText(t *testing.T) {
	addr, seen := both(t, Config{})
	check(t, addr, insecure.NewCredentials())
	if info := <-seen; info == nil || info.AuthType() != "insecure" {
		t.Errorf("seen %v", info)
	}
	// Methods that begin as the preface does.
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch} {
		if got := get(t, http.DefaultClient, method, "http://"+addr+"/"); got != method+" HTTP/1.1" {
			t.Errorf("%s: %q", method, got)
		}
	}
}

func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	template.Subject.CommonName = name
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
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	server, trusted := certificate(t, "node")
	mine, mineTrusted := certificate(t, "alice")
	addr, seen := both(t, Config{TLS: &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{server},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: mineTrusted,
	}})
	client := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trusted, Certificates: []tls.Certificate{mine}}
	check(t, addr, credentials.NewTLS(client))
	info, ok := (<-seen).(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 || info.State.PeerCertificates[0].Subject.CommonName != "alice" ||
		info.SecurityLevel != credentials.PrivacyAndIntegrity {
		t.Errorf("the client's certificate is lost: %+v", info)
	}
	// Like a browser or curl, this client can speak both.
	transport := &http.Transport{TLSClientConfig: client.Clone(), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	if got := get(t, &http.Client{Transport: transport}, http.MethodPost, "https://"+addr+"/"); got != "POST HTTP/1.1" {
		t.Errorf("HTTP: %q", got)
	}
}

// A connection within the process reaches gRPC and carries nobody's certificate, on a port with TLS too.
func TestDial(t *testing.T) {
	server, _ := certificate(t, "node")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Listener: l, TLS: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{server}}})
	go func() { _, _ = s.Dial(t.Context()) }()
	conn, err := s.GRPC().Accept()
	if err != nil {
		t.Fatal(err)
	}
	_, info, err := s.Credentials().ServerHandshake(conn)
	if err != nil || info.AuthType() != "insecure" {
		t.Errorf("%v, %v", info, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Dial(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// Somebody who connects and says nothing is shown out, and holds nobody up.
func TestSilentConnection(t *testing.T) {
	addr, _ := both(t, Config{FirstBytes: 50 * time.Millisecond})
	silent, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	if got := get(t, http.DefaultClient, http.MethodGet, "http://"+addr+"/"); got != "GET HTTP/1.1" {
		t.Errorf("beside a silent one: %q", got)
	}
	if err := silent.SetReadDeadline(time.Now().Add(waitLimit)); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(silent).ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("a silent connection: %v, want the end", err)
	}
}

// brokenListener is out of file descriptors a few times and then fails for good.
type brokenListener struct {
	net.Listener
	temporary int
	final     error
}

type noFiles struct{ error }

func (noFiles) Temporary() bool { return true }

func (b *brokenListener) Accept() (net.Conn, error) {
	if b.temporary > 0 {
		b.temporary--
		return nil, noFiles{errors.New("too many open files")}
	}
	return nil, b.final
}

func TestBrokenPortEndsBoth(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broken := &brokenListener{Listener: l, temporary: 3, final: errors.New("no network")}
	s := New(Config{Listener: broken})
	if err := s.Run(); !errors.Is(err, broken.final) || broken.temporary != 0 {
		t.Errorf("Run: %v with %d to go", err, broken.temporary)
	}
	for _, branch := range []net.Listener{s.GRPC(), s.HTTP()} {
		if _, err := branch.Accept(); !errors.Is(err, broken.final) {
			t.Errorf("Accept: %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
