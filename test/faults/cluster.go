//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"geogate/configs"
	"geogate/test/wan"
)

var dcNames = []string{"us-east", "eu-west", "ap-south", "sa-east", "af-south"}

// The disk that one node has for itself, to be filled, is of this size, or of that for each second of the load: there must be
// room for what is written in that time, and a node that is restored from a snapshot holds its state three times.
const (
	smallDiskBytes     = 512 << 20
	smallDiskPerSecond = 4 << 20
)

func (c config) smallDisk() int64 { return max(smallDiskBytes, int64(c.Seconds)*smallDiskPerSecond) }

// wide is the network between datacenters when nothing is wrong with it; within one it is perfect.
var wide = wan.Conditions{Delay: 15 * time.Millisecond, Jitter: 2 * time.Millisecond}

// cluster is all nodes and the network that joins them.
type cluster struct {
	net   *wan.Network
	dcs   []string
	nodes []*node        // datacenter by datacenter
	small *node          // has a small disk
	votes string         // a datacenter that votes on homes and holds no data; empty for none
	wide  wan.Conditions // between datacenters when nothing is wrong
	nats  []*node        // nats-servers beside the nodes of the first datacenter; none when those embed theirs
	homes bool           // there is a single-writer keyspace under load
	// replaced is a datacenter that began anew with empty disks, so its watchers see no whole history; empty for none.
	replaced string
	clocks   bool // the build's clocks can be set
	conns    map[*node]*kv
	http     *http.Client
	dir      string
	seen     func(dc string) int64 // the revision up to which all watchers of a datacenter have come

	topology *configs.Topology

	mu          sync.Mutex
	compactions map[string]compaction // guarded by mu, as below
	lost        []string              // datacenters that are gone for good
}

// newCluster makes the network and writes the topology; nothing runs yet.
func newCluster(cfg config, r row, dir, bin string) (*cluster, error) {
	c := &cluster{dcs: dcNames[:len(cfg.Nodes)], wide: wide, dir: dir, conns: map[*node]*kv{}, compactions: map[string]compaction{}}
	if r.rtt != 0 {
		c.wide.Delay = r.rtt / 2
	}
	c.homes = r.homes
	if r.witness {
		c.votes = c.dcs[len(c.dcs)-1]
	}
	c.seen = func(string) int64 { return 0 }
	var sites []string
	for i, dc := range c.dcs {
		for j := range cfg.Nodes[i] {
			sites = append(sites, fmt.Sprintf("%s/n%d", dc, j))
		}
	}
	var err error
	if c.net, err = wan.Open(wan.Config{Sites: sites, Seed: cfg.Seed}); err != nil {
		return nil, err
	}
	c.http = &http.Client{Transport: &http.Transport{DialContext: c.dial, MaxIdleConnsPerHost: 2}}
	c.topology = smallLimits()
	if r.edit != nil {
		r.edit(c.topology)
	}
	for i, dc := range c.dcs {
		d := configs.Datacenter{Name: dc, Witness: dc == c.votes, NATS: configs.NATS{Mode: configs.Embedded}, KeyFile: filepath.Join(dir, "keys", dc+".seed")}
		if d.PublicKey, err = configs.NewKey(d.KeyFile); err != nil {
			return nil, errors.Join(err, c.close())
		}
		for j := range cfg.Nodes[i] {
			name := fmt.Sprintf("n%d", j)
			site := c.net.Site(dc + "/" + name)
			at := func(port string) string { return net.JoinHostPort(site.Addr.String(), port) }
			spec := configs.Node{
				Name: name, Client: at("2379"), Raft: at("2380"), Admin: at("2381"), NATS: at("4222"), Dir: filepath.Join(dir, dc, name),
			}
			d.Nodes = append(d.Nodes, spec)
			c.nodes = append(c.nodes, &node{
				dc: dc, spec: spec, site: site, log: filepath.Join(dir, dc+"-"+name+".log"),
				args: []string{bin, "serve", "--config", c.file(wholeTopology), "--dc", dc, "--node", name},
			})
		}
		c.topology.Datacenters = append(c.topology.Datacenters, d)
	}
	if r.nats > 0 {
		c.useNATS(r.nats)
	}
	err = c.write(wholeTopology, c.topology)
	for _, n := range c.nodes {
		var cerr error
		c.conns[n], cerr = c.kv(n)
		err = errors.Join(err, cerr)
	}
	c.small = c.nodes[cfg.Nodes[0]-1]
	if err == nil {
		err = mountSmall(c.small.spec.Dir, cfg.smallDisk())
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	for p := range c.pairs() {
		c.heal(p)
	}
	return c, nil
}

// wholeTopology is the file that names all datacenters.
const wholeTopology = "geogate.yaml"

// smallLimits are the defaults but for what is too large to be met within a run: a follower that was away gets
// a snapshot, a peer that was away finds that the stream does not reach back far enough, and one that was away
// for longer that the chain does not either.
func smallLimits() *configs.Topology {
	t := configs.Default()
	t.Cluster = "faults"
	t.Limits.CatchUpBytes = 1 << 20
	t.Limits.OutboxAge = 4 * time.Second
	t.Limits.RetentionBytes = 1 << 20
	return t
}

// file is the path of a topology.
func (c *cluster) file(name string) string { return filepath.Join(c.dir, name) }

func (c *cluster) write(name string, t *configs.Topology) error {
	text, err := t.Encode()
	if err == nil {
		err = os.WriteFile(c.file(name), text, 0o600)
	}
	return err
}

// living are the datacenters that hold data and are not gone for good.
func (c *cluster) living() []string { return slices.DeleteFunc(c.holding(), c.isLost) }

// holding are the datacenters that hold data.
func (c *cluster) holding() []string {
	return slices.DeleteFunc(slices.Clone(c.dcs), func(dc string) bool { return dc == c.votes })
}

func (c *cluster) isLost(dc string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.lost, dc)
}

// strictest is the strongest policy that the living datacenters can meet.
func (c *cluster) strictest() string {
	if len(c.living()) < len(c.holding()) {
		return "QUORUM"
	}
	return "ALL"
}

// close kills every node and ends the network.
func (c *cluster) close() error {
	for _, k := range c.conns {
		_ = k.conn.Close() // nothing is under way
	}
	for _, n := range slices.Concat(c.nodes, c.nats) {
		n.kill()
	}
	return c.net.Close()
}

// in are the nodes of a datacenter.
func (c *cluster) in(dc string) (out []*node) {
	for _, n := range c.nodes {
		if n.dc == dc {
			out = append(out, n)
		}
	}
	return out
}

// pair is a direction between two nodes.
type pair struct{ from, to *node }

// pairs are all directions.
func (c *cluster) pairs() iter.Seq[pair] {
	return func(yield func(pair) bool) {
		for _, from := range c.nodes {
			for _, to := range c.nodes {
				if from != to && !yield(pair{from, to}) {
					return
				}
			}
		}
	}
}

// between are the directions from one datacenter to another.
func (c *cluster) between(from, to string) (out []pair) {
	for p := range c.pairs() {
		if p.from.dc == from && p.to.dc == to {
			out = append(out, p)
		}
	}
	return out
}

// set changes the network in some directions.
func (c *cluster) set(conditions wan.Conditions, pairs ...pair) {
	for _, p := range pairs {
		if err := c.net.Set(p.from.String(), p.to.String(), conditions); err != nil {
			panic(err) // every node is a site
		}
	}
}

// heal puts directions back to what they are when nothing is wrong.
func (c *cluster) heal(pairs ...pair) {
	for _, p := range pairs {
		if p.from.dc == p.to.dc {
			c.set(wan.Conditions{}, p)
		} else {
			c.set(c.wide, p)
		}
	}
}

// dial connects to a node from within its own namespace, so that no fault of the network is between a client
// and the node that it talks to.
func (c *cluster) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	for _, n := range c.nodes {
		if n.site.Addr == at.Addr() {
			return n.site.DialContext(ctx, network, addr)
		}
	}
	return nil, fmt.Errorf("%w: %s", wan.ErrUnknownSite, addr)
}

const maxMessageBytes = 64 << 20

func (c *cluster) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return c.dial(ctx, "tcp4", addr) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}),
	}
}

// client is an etcd client of some nodes.
func (c *cluster) client(nodes ...*node) (*clientv3.Client, error) { return c.clientWith(nodes) }

// clientWith has further options.
func (c *cluster) clientWith(nodes []*node, options ...grpc.DialOption) (*clientv3.Client, error) {
	var ends []string
	for _, n := range nodes {
		ends = append(ends, "http://"+n.spec.Client)
	}
	return clientv3.New(clientv3.Config{
		Endpoints: ends, DialOptions: append(c.dialOptions(), options...), Logger: zap.NewNop(), MaxCallRecvMsgSize: maxMessageBytes,
		DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
	})
}

// nodeStatus is what a node's admin port tells.
type nodeStatus struct {
	Leader    string           `json:"leader"`
	Revision  int64            `json:"revision"`
	Compacted int64            `json:"compacted_revision"`
	Digest    string           `json:"digest"`
	Vector    map[string]int64 `json:"vector"`
	Peers     []peerStatus     `json:"peers"`
}

// peerStatus is what it tells of another datacenter.
type peerStatus struct {
	DC            string   `json:"dc"`
	Health        string   `json:"health"`
	Reason        string   `json:"reason"`
	LagTxns       *int64   `json:"lag_txns"`
	LagSeconds    *float64 `json:"lag_seconds"`
	NeedsSnapshot string   `json:"needs_snapshot"`
	Receiver      struct {
		State   string `json:"state"`
		Reason  string `json:"reason"`
		Applied int64  `json:"applied"`
	} `json:"receiver"`
}

func (c *cluster) status(ctx context.Context, n *node) (s nodeStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.spec.Admin+"/v1/status", nil)
	if err != nil {
		return s, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// leader is the node that leads a datacenter, or its first when none is known to.
func (c *cluster) leader(ctx context.Context, dc string) *node {
	nodes := c.in(dc)
	for _, n := range nodes {
		s, err := c.status(ctx, n)
		if err != nil || s.Leader == "" {
			continue
		}
		for _, l := range nodes {
			if l.spec.Name == s.Leader {
				return l
			}
		}
	}
	return nodes[0]
}
