package node

import (
	"crypto/tls"
	"fmt"
	"log/slog"

	"geogate/configs"
)

// certificates are what a node shows and trusts on each kind of connection; nil where that is plain text.
type certificates struct{ client, raft, nats *tls.Config }

func loadCertificates(s *configs.Security, log *slog.Logger) (c certificates, err error) {
	for _, part := range []struct {
		name  string
		files configs.TLS
		to    **tls.Config
	}{{"client", s.Client, &c.client}, {"raft", s.Raft, &c.raft}, {"nats", s.NATS, &c.nats}} {
		if *part.to, err = part.files.Load(log); err != nil {
			return c, fmt.Errorf("security.%s: %w", part.name, err)
		}
	}
	return c, nil
}
