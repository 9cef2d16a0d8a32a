package importer

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

const (
	dialTimeout = 10 * time.Second
	// maxAnswerBytes is of one page: 1,000 keys of etcd's default limit.
	maxAnswerBytes = 1536 << 20

	passwordEnv = "GEOGATE_IMPORT_PASSWORD"
)

// Endpoint is how one side is reached.
type Endpoint struct {
	Addresses     []string // host:port, with or without http:// or https://
	CA, Cert, Key string   // files; none: plain text, unless an address says https
	User          string   // name:password, or a name with the password in GEOGATE_IMPORT_PASSWORD
	Options       []grpc.DialOption
}

// Dial makes a client; it connects when it is used. With a user it logs in at once.
func (e Endpoint) Dial() (*clientv3.Client, error) {
	c := clientv3.Config{
		Endpoints: e.Addresses, DialTimeout: dialTimeout, Logger: zap.NewNop(), MaxCallRecvMsgSize: maxAnswerBytes,
		DialOptions: e.Options,
	}
	var err error
	if c.TLS, err = e.tls(); err != nil {
		return nil, err
	}
	if e.User != "" {
		name, password, ok := strings.Cut(e.User, ":")
		if !ok {
			password = os.Getenv(passwordEnv)
		}
		if name == "" || password == "" {
			return nil, fmt.Errorf("user %q has no password: give it as NAME:PASSWORD or in %s", name, passwordEnv)
		}
		c.Username, c.Password = name, password
	}
	client, err := clientv3.New(c)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", strings.Join(e.Addresses, ","), err)
	}
	return client, nil
}

func (e Endpoint) tls() (*tls.Config, error) {
	if e.CA == "" && e.Cert == "" && e.Key == "" && !strings.HasPrefix(cmp.Or(e.Addresses...), "https://") {
		return nil, nil
	}
	if (e.Cert == "") != (e.Key == "") {
		return nil, errors.New("a certificate and its key go together")
	}
	info := transport.TLSInfo{TrustedCAFile: e.CA, CertFile: e.Cert, KeyFile: e.Key}
	t, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return t, nil
}
