package configs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// Security holds the certificates of the three kinds of connection. A part that is empty is plain text.
type Security struct {
	// Client is for applications. CA is optional: set, applications must show a certificate too.
	Client TLS `yaml:"client,omitempty"`
	// Raft is between nodes of a datacenter, and for requests that a follower forwards. CA is required.
	Raft TLS `yaml:"raft,omitempty"`
	// NATS is between datacenters, mutual. CA is required.
	NATS TLS `yaml:"nats,omitempty"`
}

// Auth is about users and their passwords. The users themselves are made with etcdctl and replicated.
type Auth struct {
	// TokenTTL is for how long who has logged in need not do so again.
	TokenTTL time.Duration `yaml:"token_ttl"`
	// BcryptCost is of the hashes of new passwords, 4 to 31; each step doubles the time of a login.
	BcryptCost int `yaml:"bcrypt_cost"`
	// MaxWaitingLogins bounds the logins that wait for their turn at a node; half of the cores check passwords.
	MaxWaitingLogins int `yaml:"max_waiting_logins"`
}

// TLS names three PEM files. They are read by each node on its own machine.
type TLS struct {
	Cert string `yaml:"cert,omitempty"`
	Key  string `yaml:"key,omitempty"`
	CA   string `yaml:"ca,omitempty"`
}

// Enabled says whether connections of this kind are encrypted.
func (t TLS) Enabled() bool { return t != TLS{} }

// Load reads the files. The result serves both ends: it shows Cert, trusts CA, and as a server demands a
// certificate that CA signed if there is a CA. It is nil when the part is not configured. Cert and Key are read again
// for each new connection, CA is not. log is told of what changes; nil means off.
func (t TLS) Load(log *slog.Logger) (*tls.Config, error) {
	if !t.Enabled() {
		return nil, nil
	}
	pair, err := loadCertificate(t, log)
	if err != nil {
		return nil, err
	}
	// Without Certificates: they would go before the callbacks.
	c := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.forClient, GetClientCertificate: pair.forServer}
	if t.CA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("load CA certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load CA certificates: %s holds no PEM certificate", t.CA)
	}
	c.RootCAs, c.ClientCAs, c.ClientAuth = pool, pool, tls.RequireAndVerifyClientCert
	return c, nil
}
