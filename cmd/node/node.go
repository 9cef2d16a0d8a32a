package node

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
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
	Logger   *slog.Logger     // nil means off
	Now      func() time.Time // wall clock; nil means time.Now
}

// Node is one geogate process.
type Node struct {
	cfg   Config
	log   *slog.Logger
	site  *configs.Datacenter
	spec  *configs.Node
	names map[uint64]string // names of this datacenter's nodes by Raft id

	registry *prometheus.Registry
	dc       *dc.DC
	engine   *replication.Engine
	gateway  *gateway.Server
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
	n := &Node{cfg: cfg, log: cfg.Logger, names: map[uint64]string{}, registry: prometheus.NewRegistry(), killed: make(chan struct{})}
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
	for _, x := range n.site.Nodes {
		n.names[nodeID(cfg.Topology, cfg.DC, x.Name)] = x.Name
	}
	return n, nil
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
	n.dc, err = dc.Open(c)
	if errors.Is(err, consensus.ErrForeign) {
		err = fmt.Errorf("the data in %s is not of node %s of datacenter %s in cluster %q: use the directory of this node, or an empty one: %w",
			n.spec.Dir, n.cfg.Node, n.cfg.DC, n.cfg.Topology.Cluster, err)
	}
	if err != nil {
		return errors.Join(err, c.Consensus.Listener.Close())
	}
	return nil
}

// dcConfig is all of the replica's configuration but its listener.
func (n *Node) dcConfig() (dc.Config, error) {
	t := n.cfg.Topology
	tls, err := t.Security.Raft.Load()
	if err != nil {
		return dc.Config{}, err
	}
	var members []consensus.Member
	for _, x := range n.site.Nodes {
		members = append(members, consensus.Member{ID: nodeID(t, n.cfg.DC, x.Name), Addr: x.Raft})
	}
	return dc.Config{
		Name: n.cfg.DC, Peers: n.peerNames(), Dir: n.spec.Dir, Now: n.cfg.Now,
		RetentionBytes: int64(t.Limits.RetentionBytes), RetentionAge: t.Limits.RetentionAge,
		MaxRequestBytes: int(t.Limits.MaxRequestBytes), MaxQueueBytes: int(t.Limits.QueueBytes),
		MinFreeBytes: int64(t.Limits.MinFreeBytes),
		Consensus: consensus.Config{
			ClusterID: clusterID(t, n.cfg.DC), NodeID: nodeID(t, n.cfg.DC, n.cfg.Node), Members: members,
			TLS: tls, TickInterval: t.Timing.RaftTick,
			ElectionTicks: t.Timing.ElectionTicks, HeartbeatTicks: t.Timing.HeartbeatTicks,
			MaxEntryBytes: int(t.Limits.MaxEntryBytes), MaxUncommittedEntriesSize: int(t.Limits.MaxUncommittedBytes),
			SnapshotCatchUpBytes: int(t.Limits.CatchUpBytes),
		},
		Store: store.Config{
			FlushInterval: t.Limits.FlushInterval, FlushBytes: int64(t.Limits.FlushBytes),
			MaxPendingBytes: int64(t.Limits.PendingBytes), ConflictLogSize: t.Limits.ConflictEntries,
			ScrubInterval: t.Limits.ScrubInterval, ScrubRate: int64(t.Limits.ScrubRate),
		},
		Logger: n.log, Registerer: n.registry,
	}, nil
}

func (n *Node) peerNames() (names []string) {
	for _, name := range n.cfg.Topology.Names() {
		if name != n.cfg.DC {
			names = append(names, name)
		}
	}
	return names
}

func (n *Node) openEngine() error {
	t := n.cfg.Topology
	key, err := n.key()
	if err != nil {
		return err
	}
	tls, err := t.Security.NATS.Load()
	if err != nil {
		return err
	}
	rc := replication.Config{
		Local: n.cfg.DC, Node: n.cfg.Node, Incarnation: n.dc.Incarnation, Key: key, DialTLS: tls,
		Chain: chain{n.dc}, Applier: n.dc, Confirmer: n.dc, Snapshots: n.dc,
		HeartbeatInterval: t.Timing.Heartbeat,
		Health:            health.Limits{SuspectAfter: t.Timing.SuspectAfter, DownAfter: t.Timing.DownAfter},
		PublishBytes:      int(t.Limits.PublishWindowBytes), ProposeBytes: int(t.Limits.ReceiveWindowBytes),
		PullBytes: int(t.Limits.ReceiveWindowBytes), SnapshotRate: int(t.Limits.SnapshotRate),
		Clock: n.cfg.Now, Logger: n.log, Registerer: n.registry,
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
