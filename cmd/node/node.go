package node

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"geogate/configs"
	"geogate/consensus"
	"geogate/dc"
	"geogate/dc/store"
	"geogate/gateway"
	"geogate/gateway/admin"
	"geogate/replication"
	"geogate/replication/health"
)

// Config says which node of which topology to run.
type Config struct {
	Topology *configs.Topology
	DC       string           // name of this node's datacenter
	Node     string           // its name there
	Join     bool             // as configs.Node.Join
	Logger   *slog.Logger     // nil means off
	Now      func() time.Time // wall clock, which stamps are taken from; nil means time.Now
}

// Node is one geogate process.
type Node struct {
	cfg    Config
	log    *slog.Logger
	site   *configs.Datacenter
	spec   *configs.Node
	id     uint64 // of this node in its group
	roster *roster
	tls    certificates
	keys   nkeys.KeyPair // of the datacenter

	registry *prometheus.Registry
	dc       *dc.DC
	engine   *replication.Engine
	gateway  *gateway.Server
	calls    *calls // nil without single-writer keyspaces
	admin    *admin.Server

	killed   chan struct{} // closed by Kill
	killOnce sync.Once
}

// Open reads the node's data and takes its ports. It serves nothing before [Node.Run].
func Open(cfg Config) (_ *Node, err error) {
	n, err := find(cfg)
	if err != nil {
		return nil, err
	}
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	for _, open := range []func() error{n.openDC, n.openEngine, n.openGateway, n.openAdmin} {
		if err := open(); err != nil {
			return nil, withAdvice(err, n.spec.Dir)
		}
	}
	return n, nil
}

// find looks the node up in its topology.
func find(cfg Config) (*Node, error) {
	n := &Node{cfg: cfg, log: cfg.Logger, registry: prometheus.NewRegistry(), killed: make(chan struct{})}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	var ok bool
	if n.site, ok = cfg.Topology.Datacenter(cfg.DC); !ok {
		return nil, fmt.Errorf("the topology has no datacenter %q", cfg.DC)
	}
	if n.spec, ok = n.site.Node(cfg.Node); !ok {
		return nil, fmt.Errorf("datacenter %s has no node %q", cfg.DC, cfg.Node)
	}
	n.cfg.Now = wallClock(cfg.Now, n.spec.Dir, n.log)
	// What can be wrong in other files is found before any data is opened.
	var err error
	if n.tls, err = loadCertificates(&cfg.Topology.Security, n.log); err != nil {
		return nil, err
	}
	n.keys, err = n.key()
	return n, err
}

// close undoes what Open did, for a node that never runs.
func (n *Node) close() error {
	var errs []error
	if n.gateway != nil {
		n.gateway.Kill()
	}
	if n.engine != nil {
		errs = append(errs, n.engine.Close())
	}
	if n.dc != nil {
		errs = append(errs, n.dc.Close())
	}
	return errors.Join(errs...)
}

func (n *Node) openDC() error {
	c, err := n.dcConfig()
	if err != nil {
		return err
	}
	if c.Consensus.Listener, err = listen("raft", n.spec.Raft); err != nil {
		return err
	}
	if n.dc, err = dc.Open(c); err != nil {
		return errors.Join(n.foreign(err), c.Consensus.Listener.Close())
	}
	// Reading the data and the log leaves behind about as much as it keeps, and a node at rest would collect it late.
	debug.FreeOSMemory()
	n.id = c.Consensus.NodeID
	n.roster = &roster{DC: n.dc, peerScheme: scheme(n.cfg.Topology.Security.Raft)}
	n.compare()
	return nil
}

// dcConfig is all of the replica's configuration but its listener.
func (n *Node) dcConfig() (dc.Config, error) {
	t := n.cfg.Topology
	cc := consensus.Config{
		ClusterID: clusterID(t, n.cfg.DC), TLS: n.tls.raft, TickInterval: t.Timing.RaftTick,
		ElectionTicks: t.Timing.ElectionTicks, HeartbeatTicks: t.Timing.HeartbeatTicks,
		MaxEntryBytes: int(t.Limits.MaxEntryBytes), MaxUncommittedEntriesSize: int(t.Limits.MaxUncommittedBytes),
		SnapshotCatchUpBytes: int(t.Limits.CatchUpBytes),
	}
	period, revisions, err := t.Compaction.Kept()
	if err != nil {
		return dc.Config{}, fmt.Errorf("compaction.retention %w", err)
	}
	if err := n.place(&cc); err != nil {
		return dc.Config{}, n.foreign(err)
	}
	nodes := t.Verification.NodesInterval
	if nodes == 0 {
		nodes = -1
	}
	return dc.Config{
		ReplicaCheckInterval: nodes,
		Name:                 n.cfg.DC, Peers: n.dataPeers(), Witness: n.site.Witness, Dir: n.spec.Dir, Now: n.cfg.Now,
		MultiWriter:    n.cfg.Topology.NestedMultiWriters(),
		RetentionBytes: int64(t.Limits.RetentionBytes), RetentionAge: t.Limits.RetentionAge,
		QuotaBytes: int64(t.Storage.QuotaBytes), Compaction: dc.Compaction{Period: period, Revisions: revisions},
		MaxRequestBytes: int(t.Limits.MaxRequestBytes), MaxQueueBytes: int(t.Limits.QueueBytes),
		MinFreeBytes: int64(t.Limits.MinFreeBytes),
		MaxLeases:    t.Limits.Leases, LeaseRevokesPerSecond: t.Limits.LeaseRevokesPerSecond, LeaseCheckpointInterval: t.Timing.LeaseCheckpoint,
		Consensus: cc,
		Store: store.Config{
			FlushInterval: t.Limits.FlushInterval, FlushBytes: int64(t.Limits.FlushBytes),
			MaxPendingBytes: int64(t.Limits.PendingBytes), ConflictLogSize: t.Limits.ConflictEntries,
			ScrubInterval: t.Limits.ScrubInterval, ScrubRate: int64(t.Limits.ScrubRate),
		},
		Logger: n.log, Registerer: n.registry,
	}, nil
}

// foreign says what to do about a directory of another node.
func (n *Node) foreign(err error) error {
	if !errors.Is(err, consensus.ErrForeign) {
		return err
	}
	return fmt.Errorf("the data in %s is not of node %s of datacenter %s in cluster %q: use the directory of this node, or an empty one: %w",
		n.spec.Dir, n.cfg.Node, n.cfg.DC, n.cfg.Topology.Cluster, err)
}

func (n *Node) peerNames() []string { return n.without(n.cfg.Topology.Names()) }

func (n *Node) without(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == n.cfg.DC })
}

func (n *Node) openEngine() error {
	t := n.cfg.Topology
	tls := n.tls.nats
	rc := replication.Config{
		Local: n.cfg.DC, Node: n.cfg.Node, Incarnation: n.dc.Incarnation, Key: n.keys, DialTLS: tls,
		Chain: chain{n.dc}, Applier: n.dc, Confirmer: n.dc, Snapshots: n.dc, Verified: n.dc,
		VerifyInterval:    t.Verification.Interval,
		HeartbeatInterval: t.Timing.Heartbeat,
		Health:            health.Limits{SuspectAfter: t.Timing.SuspectAfter, DownAfter: t.Timing.DownAfter},
		PublishBytes:      int(t.Limits.PublishWindowBytes), ProposeBytes: int(t.Limits.ReceiveWindowBytes),
		PullBytes: int(t.Limits.ReceiveWindowBytes), SnapshotRate: int(t.Limits.SnapshotRate), HalfOpenWrites: t.Limits.HalfOpenWrites,
		CatchUpPercent: t.Limits.CatchUpPercent, MaxClockSkew: t.Timing.MaxClockSkew,
		CallTimeout: gateway.LongestWrite, Uptime: uptime(n.spec.Dir, n.log),
		Wall: n.cfg.Now, Logger: n.log, Registerer: n.registry,
	}
	for _, k := range t.AllKeyspaces() {
		rc.Prefixes = append(rc.Prefixes, k.Prefix)
	}
	for _, name := range n.peerNames() {
		peer, _ := t.Datacenter(name)
		p := replication.Peer{Name: name, PublicKey: peer.PublicKey}
		if peer.NATS.Mode == configs.External {
			p.Credentials = peer.NATS.PeerCredsFile
		}
		for _, e := range t.Endpoints(n.cfg.DC, name) {
			p.Endpoints = append(p.Endpoints, replication.Endpoint{Node: e.Node, URL: e.URL})
		}
		rc.Peers = append(rc.Peers, p)
	}
	if n.site.NATS.Mode == configs.External {
		rc.NATS.External = &replication.External{
			URLs: n.site.NATS.URLs, Credentials: n.site.NATS.CredsFile, TLS: tls,
			Replicas: n.site.NATS.Replicas, PeerAPIPrefix: n.site.NATS.PeerAPIPrefix,
			MaxBytes: int64(t.Limits.OutboxBytes), MaxAge: t.Limits.OutboxAge,
		}
	} else {
		rc.NATS.Embedded = &replication.Embedded{
			ListenAddr: n.natsAddr(), StoreDir: filepath.Join(n.spec.Dir, "nats"), TLS: tls,
			MaxBytes: int64(t.Limits.OutboxBytes), MaxAge: t.Limits.OutboxAge,
		}
	}
	var err error
	n.addHomes(&rc)
	n.engine, err = replication.Open(rc)
	return err
}

// natsAddr is where peers reach this node's stream; a datacenter without peers needs none.
func (n *Node) natsAddr() string {
	if n.spec.NATS == "" {
		return "127.0.0.1:0"
	}
	return n.spec.NATS
}

// key is the datacenter's key pair. A datacenter without peers signs nothing that anyone reads.
func (n *Node) key() (nkeys.KeyPair, error) {
	if len(n.cfg.Topology.Datacenters) == 1 && n.site.KeyFile == "" {
		return nkeys.CreateUser()
	}
	return n.site.LoadKey()
}
