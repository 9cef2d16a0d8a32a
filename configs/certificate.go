package configs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// certificate is a key pair on disk that may be renewed there. As in etcd the files are read for each handshake; where
// they can't be, as while they are being written, the pair read last goes on.
type certificate struct {
	files TLS
	log   *slog.Logger // nil: off

	mu      sync.Mutex
	pair    *tls.Certificate // never nil. guarded by mu, as below
	problem string           // logged last
}

// loadCertificate reads the pair for the first time.
func loadCertificate(files TLS, log *slog.Logger) (*certificate, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &certificate{files: files, log: log}
	var err error
	if c.pair, err = c.read(); err != nil {
		return nil, err
	}
	c.warn(c.pair.Leaf)
	return c, nil
}

func (c *certificate) read() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return nil, fmt.Errorf("load certificate %s with key %s: %w", c.files.Cert, c.files.Key, err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, fmt.Errorf("load certificate %s: %w", c.files.Cert, err)
		}
	}
	return &pair, nil
}

// current is the pair to show now.
func (c *certificate) current() *tls.Certificate {
	pair, err := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if c.problem != err.Error() {
			c.log.Error("the certificate on disk can't be used, going on with the one read before; put a pair that fits there",
				"cert", c.files.Cert, "key", c.files.Key, "not_after", c.pair.Leaf.NotAfter, "error", err)
		}
		c.problem = err.Error()
		return c.pair
	}
	c.problem = ""
	if !pair.Leaf.Equal(c.pair.Leaf) {
		c.log.Info("certificate was renewed", "cert", c.files.Cert, "serial", pair.Leaf.SerialNumber.String(), "not_after", pair.Leaf.NotAfter)
		c.warn(pair.Leaf)
		c.pair = pair
	}
	return c.pair
}

// warn tells of a certificate that nobody will take.
func (c *certificate) warn(leaf *x509.Certificate) {
	if time.Now().After(leaf.NotAfter) {
		c.log.Error("this certificate has expired: connections will be refused until it is renewed", "cert", c.files.Cert, "not_after", leaf.NotAfter)
	}
}

func (c *certificate) forClient(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current(), nil
}

func (c *certificate) forServer(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return c.current(), nil
}
