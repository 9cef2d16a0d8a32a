package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"geogate/gateway/electionpb"
	"geogate/gateway/express"
	"geogate/gateway/geopb"
	"geogate/gateway/lockpb"
	"geogate/gateway/recipe"
	"geogate/gateway/split"
	"geogate/gateway/trunk"
	"geogate/gateway/trunk/trunkpb"
	"geogate/gateway/watch"
)

// Server is one node's gateway.
type Server struct {
	cfg         Config
	log         *slog.Logger
	name        string   // of the datacenter
	onlyHere    []string // acked-by of what only this datacenter is known to have; never changed
	dc          Datacenter
	replication Replication
	keyspaces   *keyspaces
	metrics     *metrics
	forward     *forwarder
	trunks      *trunk.Server // of the other nodes
	leaders     *leaderWatch
	health      *health.Server
	watches     *watch.Server
	tokens      *tokens
	passwords   *passwords
	standing    atomic.Pointer[standing] // what is known of the peers; never nil
	events      policyEvents
	renewals    renewals
	homeLeases  homeLeases
	recipes     *recipe.Client
	held        atomic.Int64 // writes that the RPO budget holds back now
	fresh       freshness
	quorums     rounds[[]point]
	work        chan struct{} // one place for each request that may read the whole database at a time

	inflightTxns, inflightBytes atomic.Int64 // admitted by the RPO budget and not committed yet

	overdue  overdue
	outcomes outcomes
	looks    looks

	split *split.Splitter
	lanes *express.Lanes
	grpc  *grpc.Server
	web   *web

	life       context.Context // of what no request waits for; ends with endLife
	endLife    context.CancelFunc
	stopping   chan struct{} // closed when Run is told to stop
	stopOnce   sync.Once
	receivers  sync.WaitGroup // goroutines of streams that outlive their handler by a moment
	abruptStop chan struct{}  // closed by Kill
	killOnce   sync.Once
}

// New checks the configuration and builds the gateway; it starts nothing. Errors wrap [ErrConfig].
func New(config Config) (*Server, error) {
	cfg := config.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	spaces, err := newKeyspaces(cfg.Keyspaces, cfg.MaxPolicyTimeout)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if spaces.anySingle && (cfg.Homes == nil || cfg.Origins == nil) {
		return nil, fmt.Errorf("%w: there are single-writer keyspaces, so homes and origins are required", ErrConfig)
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("%w: metrics: %w", ErrConfig, err)
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, name: cfg.Datacenter.Name(), onlyHere: []string{cfg.Datacenter.Name()},
		dc: cfg.Datacenter, replication: cfg.Replication, keyspaces: spaces,
		metrics: m, forward: newForwarder(&cfg), health: health.NewServer(),
		stopping: make(chan struct{}), abruptStop: make(chan struct{}), work: make(chan struct{}, cfg.MaxMaintenance), fresh: newFreshness(),
	}
	s.life, s.endLife = context.WithCancel(context.Background())
	s.quorums.most, s.quorums.spawn, s.quorums.run = cfg.MaxQuorumRounds, s.receivers.Go, s.askQuorum
	s.tokens = newTokens(s.name, cfg.TokenTTL, time.Now)
	if s.passwords, err = newPasswords(cfg.BcryptCost, cfg.MaxLogins, cfg.MaxWaitingLogins); err != nil {
		return nil, fmt.Errorf("%w: passwords: %w", ErrConfig, err)
	}
	s.forward.passOn = s.passOn
	s.standing.Store(newStanding())
	spaces.each(func(prefix string, r rule) {
		if r.degrade != nil {
			m.degraded.WithLabelValues(prefix)
			m.degradedSeconds.WithLabelValues(prefix)
		}
	})
	s.leaders = newLeaderWatch(s.dc, cfg.LeaderLoss, func(known bool) {
		s.health.SetServingStatus("", servingStatus(known))
		s.log.Info("leadership", "known", known, "leader", s.dc.Leader())
	})
	s.split = split.New(split.Config{Listener: cfg.Listener, TLS: cfg.TLS, Refused: s.refusedTLS})
	s.lanes = s.newLanes()
	s.looks.look = s.look
	s.grpc = grpc.NewServer(s.serverOptions()...)
	s.trunks = trunk.NewServer(s.carried(), trunkBytes, s.stopping)
	s.trunks.Quick(s.quick())
	if s.watches, err = s.newWatches(); err != nil {
		return nil, fmt.Errorf("%w: metrics: %w", ErrConfig, err)
	}
	s.recipes = s.newRecipes()
	s.register()
	if s.web, err = newWeb(s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return s, nil
}

func servingStatus(ok bool) grpc_health_v1.HealthCheckResponse_ServingStatus {
	if ok {
		return grpc_health_v1.HealthCheckResponse_SERVING
	}
	return grpc_health_v1.HealthCheckResponse_NOT_SERVING
}

// Fixed windows: with its own, grpc measures the bandwidth with pings, which cost as much as small requests.
const (
	streamWindow = 1 << 20
	connWindow   = 4 << 20
)

const pingMinTime = 5 * time.Second // as in etcd

func (s *Server) serverOptions() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(s.cfg.MaxRequestBytes + grpcOverheadBytes),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.MaxConcurrentStreams(s.cfg.MaxConcurrentStreams),
		// As in etcd: clients are set up for these.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingMinTime}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * time.Hour, Timeout: 20 * time.Second}),
		grpc.InitialWindowSize(streamWindow), grpc.InitialConnWindowSize(connWindow),
		grpc.NumStreamWorkers(s.cfg.StreamWorkers),
		grpc.Creds(s.lanes.Credentials(s.split.Credentials())),
	}
	if s.cfg.Witness {
		options = append(options, s.witnessOptions()...)
	}
	return options
}

func (s *Server) register() {
	etcdserverpb.RegisterKVServer(s.grpc, kvServer{Server: s})
	etcdserverpb.RegisterWatchServer(s.grpc, s.watches)
	etcdserverpb.RegisterLeaseServer(s.grpc, leaseServer{Server: s})
	etcdserverpb.RegisterClusterServer(s.grpc, clusterServer{Server: s})
	etcdserverpb.RegisterMaintenanceServer(s.grpc, maintenanceServer{Server: s})
	etcdserverpb.RegisterAuthServer(s.grpc, authServer{Server: s})
	lockpb.RegisterLockServer(s.grpc, recipe.Locks{Client: s.recipes})
	electionpb.RegisterElectionServer(s.grpc, recipe.Elections{Client: s.recipes})
	geopb.RegisterGeoServer(s.grpc, geoServer{Server: s})
	trunkpb.RegisterTrunkServer(s.grpc, s.trunks)
	s.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING) // until a leader is known
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
}

// Run serves until ctx ends or the listener fails. Then it ends the watch streams, lets requests finish for
// StopTimeout and cuts off what is left. It returns nil when it was told to stop. It can be called once.
func (s *Server) Run(ctx context.Context) error {
	err := s.recipes.Open()
	if err != nil {
		return err
	}
	watchCtx, stopWatch := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { s.leaders.run(watchCtx) })
	if s.keyspaces.watchesPeers() {
		group.Go(func() { s.watchPeers(watchCtx) })
	}
	group.Go(func() { _ = s.split.Run() }) // what ends it ends the two servers too, with its error
	group.Go(s.web.serve)
	if s.cfg.QuotaBytes > 0 {
		group.Go(func() { s.watchQuota(watchCtx) })
	}
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(s.split.GRPC()) }()

	select {
	case <-ctx.Done():
		s.stop()
		<-served
	case <-s.abruptStop:
		s.beginStop()
		s.cutOff()
		<-served
	case err = <-served:
		s.beginStop()
		s.cutOff()
		if s.killed() {
			err = nil
		} else {
			err = fmt.Errorf("serve clients: %w", err)
		}
	}
	s.web.close()
	stopWatch()
	group.Wait()
	s.recipes.Close()
	s.receivers.Wait()
	s.watches.Wait()
	s.trunks.Wait()
	s.forward.close()
	return err
}

// Kill ends Run abruptly, or gives back the port of a server that never ran: no request finishes. It is for
// rehearsals of disaster.
func (s *Server) Kill() {
	s.killOnce.Do(func() {
		close(s.abruptStop)
		_ = s.split.Close() // it only reports that it is closed already
	})
}

func (s *Server) killed() bool {
	select {
	case <-s.abruptStop:
		return true
	default:
		return false
	}
}

func (s *Server) beginStop() {
	s.stopOnce.Do(func() {
		s.health.Shutdown()
		close(s.stopping)
		s.endLife()
		_ = s.split.Close() // it only reports that the port is closed already
	})
}

// stop is graceful within its bound.
func (s *Server) stop() {
	s.beginStop()
	s.recipes.Stop()
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	t := time.NewTimer(s.cfg.StopTimeout)
	defer t.Stop()
	select {
	case <-done:
		return
	case <-t.C:
		s.log.Warn("requests were cut off", "after", s.cfg.StopTimeout)
	case <-s.abruptStop:
	}
	s.cutOff()
	<-done
}

// cutOff ends all connections of clients.
func (s *Server) cutOff() {
	s.lanes.Abort()
	s.grpc.Stop()
}

// Addr is where clients are served.
func (s *Server) Addr() net.Addr { return s.cfg.Listener.Addr() }

// fill completes the header of a datacenter's response.
func (s *Server) fill(h *etcdserverpb.ResponseHeader) {
	if h == nil {
		return
	}
	term, _ := s.dc.Leading()
	h.ClusterId, h.MemberId, h.RaftTerm = s.cfg.ClusterID, s.cfg.MemberID, max(term, 1)
}

// header is that of a response which is made here.
func (s *Server) header(revision int64) *etcdserverpb.ResponseHeader {
	h := &etcdserverpb.ResponseHeader{Revision: revision}
	s.fill(h)
	return h
}
