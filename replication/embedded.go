package replication

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

const (
	geoAccount    = "GEO"
	systemAccount = "SYS"
	startTimeout  = 10 * time.Second
)

// embedded is the NATS server of this node: alone, with JetStream in the GEO account only, and an account
// for each peer.
type embedded struct {
	cfg    *Config
	server *server.Server
	user   nkeys.KeyPair // of the engine itself, made anew for each server
	logger *natsLogger

	mu sync.Mutex // serializes revive
}

// openEmbedded starts the server and returns when it takes connections.
func openEmbedded(cfg *Config) (*embedded, error) {
	e := cfg.NATS.Embedded
	host, port, err := splitAddr(e.ListenAddr)
	if err != nil {
		return nil, fmt.Errorf("%w on %q: %w", ErrListen, e.ListenAddr, err)
	}
	if err := probe(e.ListenAddr); err != nil {
		return nil, fmt.Errorf("%w on %q for NATS: %w: choose another address or stop what uses it", ErrListen, e.ListenAddr, err)
	}
	if err := os.MkdirAll(e.StoreDir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrServer, err)
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrServer, err)
	}
	userKey, err := user.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrServer, err)
	}
	accounts, users := accountsOf(cfg, userKey)
	if port == 0 {
		port = server.RANDOM_PORT
	}
	opts := &server.Options{
		ServerName: token(cfg.Local) + "/" + token(cfg.Node), Host: host, Port: port,
		NoSigs: true, NoSystemAccount: false, SystemAccount: systemAccount,
		Accounts: accounts, Nkeys: users,
		JetStream: true, StoreDir: e.StoreDir, JetStreamDomain: token(cfg.Local),
		JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 2 * e.MaxBytes,
		MaxPayload: int32(max(1<<20, cfg.PartBytes+64<<10)), MaxPending: int64(max(64<<20, 4*cfg.PullBytes)),
		PingInterval: 2 * time.Second, MaxPingsOut: 2, WriteDeadline: 10 * time.Second,
		// A peer on a slow link takes longer than that for all that it has asked for, and is not gone.
		WriteTimeout: server.WriteTimeoutPolicyRetry,
		// The outbox may be lost, so its tail need not be synced often: commits to the log wait for the disk meanwhile.
		SyncInterval: 2 * time.Minute,
		TLSConfig:    e.TLS, TLS: e.TLS != nil, TLSTimeout: 5,
	}
	if e.TLS != nil {
		opts.TLSVerify = e.TLS.ClientCAs != nil
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrServer, err)
	}
	srv := &embedded{cfg: cfg, server: s, user: user, logger: &natsLogger{log: cfg.Logger, fatal: make(chan string, 1)}}
	s.SetLoggerV2(srv.logger, false, false, false)
	if err := srv.start(); err != nil {
		srv.close()
		return nil, err
	}
	return srv, nil
}

func (s *embedded) start() error {
	if err := exportToPeers(s.server, s.cfg); err != nil {
		return fmt.Errorf("%w: %w", ErrServer, err)
	}
	go s.server.Start()
	if !s.server.ReadyForConnections(startTimeout) {
		select {
		case msg := <-s.logger.fatal:
			return fmt.Errorf("%w: %s", ErrServer, msg)
		default:
			return fmt.Errorf("%w: not ready after %s", ErrServer, startTimeout)
		}
	}
	if !s.server.JetStreamEnabled() {
		return fmt.Errorf("%w: JetStream did not start in %s", ErrServer, s.cfg.NATS.Embedded.StoreDir)
	}
	return s.enableAccount()
}

func (s *embedded) enableAccount() error {
	geo, err := s.server.LookupAccount(geoAccount)
	if err == nil && !geo.JetStreamEnabled() {
		err = geo.EnableJetStream(nil, nil)
	}
	if err != nil {
		return fmt.Errorf("%w: JetStream of account %s: %w", ErrServer, geoAccount, err)
	}
	return nil
}

// revive turns JetStream on again after the server has turned it off, which it does when its disk fails.
func (s *embedded) revive() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server.JetStreamEnabled() || !s.server.Running() {
		return nil
	}
	e := s.cfg.NATS.Embedded
	err := s.server.EnableJetStream(&server.JetStreamConfig{
		MaxMemory: 64 << 20, MaxStore: 2 * e.MaxBytes, StoreDir: e.StoreDir, Domain: token(s.cfg.Local),
	})
	if err != nil {
		return fmt.Errorf("%w: JetStream: %w", ErrServer, err)
	}
	return s.enableAccount()
}

// connect options of the engine: inside the process, as its own user.
func (s *embedded) options() ([]nats.Option, error) {
	public, err := s.user.PublicKey()
	if err != nil {
		return nil, err
	}
	return []nats.Option{nats.InProcessServer(s.server), nats.Nkey(public, s.user.Sign)}, nil
}

func (s *embedded) addr() string {
	if a := s.server.Addr(); a != nil {
		return a.String()
	}
	return ""
}

func (s *embedded) close() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

func splitAddr(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(p)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("port %q: want a number from 0 to 65535", p)
	}
	return host, port, nil
}

// probe listens for a moment: the server itself would only log that its port is taken.
func probe(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return l.Close()
}

// natsLogger hands the server's log to slog. Fatalf does not end the process.
type natsLogger struct {
	log   *slog.Logger
	fatal chan string
}

func (l *natsLogger) Noticef(format string, v ...any) {
	l.log.Debug("nats server", "text", fmt.Sprintf(format, v...))
}
func (l *natsLogger) Warnf(format string, v ...any) {
	l.log.Warn("nats server", "text", fmt.Sprintf(format, v...))
}
func (l *natsLogger) Errorf(format string, v ...any) {
	l.log.Error("nats server", "text", fmt.Sprintf(format, v...))
}
func (l *natsLogger) Debugf(string, ...any) {}
func (l *natsLogger) Tracef(string, ...any) {}

func (l *natsLogger) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error("nats server", "text", text)
	select {
	case l.fatal <- text:
	default:
	}
}
