package configs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// selfSigned writes a certificate that is its own CA.
func selfSigned(t *testing.T) TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	out := TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "cert.pem")}
	for path, block := range map[string]*pem.Block{out.Cert: {Type: "CERTIFICATE", Bytes: der}, out.Key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestTLSLoad(t *testing.T) {
	files := selfSigned(t)
	c, err := files.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.ClientAuth != tls.RequireAndVerifyClientCert || c.RootCAs == nil || c.ClientCAs == nil {
		t.Errorf("with a CA both ends must be checked: %+v", c)
	}
	if c, err := (TLS{Cert: files.Cert, Key: files.Key}).Load(nil); err != nil || c.ClientAuth != tls.NoClientCert {
		t.Errorf("without a CA clients show no certificate: %+v, %v", c, err)
	}
	if c, err := (TLS{}).Load(nil); c != nil || err != nil {
		t.Errorf("nothing configured: %v, %v", c, err)
	}
	for name, bad := range map[string]TLS{
		"no such file":      {Cert: "absent.pem", Key: files.Key},
		"no such CA":        {Cert: files.Cert, Key: files.Key, CA: "absent.pem"},
		"CA is no PEM cert": {Cert: files.Cert, Key: files.Key, CA: files.Key},
	} {
		if _, err := bad.Load(nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
