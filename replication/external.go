package replication

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

func (x *External) options() (urls string, opts []nats.Option, err error) {
	if x.Credentials != "" {
		opts = append(opts, nats.UserCredentials(x.Credentials))
	}
	if x.Seed != "" {
		pair, err := nkeys.FromSeed([]byte(x.Seed))
		if err != nil {
			return "", nil, fmt.Errorf("seed for external NATS: %w", err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			return "", nil, fmt.Errorf("seed for external NATS: %w", err)
		}
		opts = append(opts, nats.Nkey(public, pair.Sign))
	}
	if x.TLS != nil {
		opts = append(opts, nats.Secure(x.TLS))
	}
	return strings.Join(x.URLs, ","), append(opts, nats.RetryOnFailedConnect(true)), nil
}

// localOptions are for the engine's connection to its own DC's NATS, which is kept for ever.
func (e *Engine) localOptions() []nats.Option {
	ping := time.Second
	if e.embedded != nil {
		ping = pingEvery // a server in the same process does not fall silent by itself
	}
	return []nats.Option{
		nats.Name("geogate " + e.cfg.Local + "/" + e.cfg.Node),
		nats.CustomInboxPrefix("_INBOX"),
		nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(200 * time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		nats.ReconnectBufSize(-1), // a publish of before is stale: the shipper repeats what was not acknowledged
		nats.Timeout(e.cfg.DialTimeout), nats.PingInterval(ping), nats.MaxPingsOutstanding(3),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			e.cfg.Logger.Warn("local NATS connection", "error", err)
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				e.cfg.Logger.Warn("local NATS connection lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { e.cfg.Logger.Info("local NATS connection restored") }),
	}
}
