package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"geogate/configs"
)

// Options shape a cluster.
type Options struct {
	DCs   []string                // names; three when nil
	Nodes int                     // of each; 1 when 0
	Edit  func(*configs.Topology) // changes the topology before anything starts; nil for none
	// Clocks runs a build whose clocks SetClock can set.
	Clocks bool
}

// Cluster is a running set of datacenters.
type Cluster struct {
	t        testing.TB
	dir      string
	file     string
	Topology *configs.Topology
	nodes    map[string]*Process // "dc/node"
	links    map[string]*link    // "from/to", where from pulls
}

// Start builds the binary, writes a topology, starts every node, and waits until every datacenter has a
// leader and sees every other one healthy.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := Prepare(t, o)
	for _, d := range c.Topology.Datacenters {
		for _, n := range d.Nodes {
			c.Node(d.Name, n.Name).Start()
		}
	}
	c.WaitHealthy(30 * time.Second)
	return c
}

// Prepare is Start without starting anything.
func Prepare(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.DCs == nil {
		o.DCs = []string{"us-east", "eu-west", "ap-south"}
	}
	o.Nodes = max(o.Nodes, 1)
	c := &Cluster{t: t, dir: t.TempDir(), nodes: map[string]*Process{}, links: map[string]*link{}}
	c.Topology = configs.Default()
	c.Topology.Cluster = "test"
	for _, name := range o.DCs {
		d := configs.Datacenter{Name: name, NATS: configs.NATS{Mode: configs.Embedded}}
		d.KeyFile = filepath.Join(c.dir, "keys", name+".seed")
		var err error
		if d.PublicKey, err = configs.NewKey(d.KeyFile); err != nil {
			t.Fatal(err)
		}
		for i := range o.Nodes {
			n := fmt.Sprintf("n%d", i)
			d.Nodes = append(d.Nodes, configs.Node{
				Name: n, Client: freeAddr(t), Raft: freeAddr(t), Admin: freeAddr(t), NATS: freeAddr(t),
				Dir: filepath.Join(c.dir, name, n),
			})
		}
		c.Topology.Datacenters = append(c.Topology.Datacenters, d)
	}
	c.link(o.DCs)
	if o.Edit != nil {
		o.Edit(c.Topology)
	}
	c.file = filepath.Join(c.dir, "geogate.yaml")
	c.WriteTopology()
	bin := binary(t, o.Clocks)
	for _, d := range c.Topology.Datacenters {
		for _, n := range d.Nodes {
			c.nodes[d.Name+"/"+n.Name] = newProcess(t, bin, c.file, d.Name, n)
		}
	}
	return c
}

// WriteTopology writes the present topology to the file that starting nodes read.
func (c *Cluster) WriteTopology() {
	c.t.Helper()
	b, err := c.Topology.Encode()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(c.file, b, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// link puts a relay in front of every node's NATS for every datacenter that pulls from it.
func (c *Cluster) link(dcs []string) {
	for _, from := range dcs {
		for _, to := range dcs {
			if from == to {
				continue
			}
			l := &link{}
			d, _ := c.Topology.Datacenter(to)
			var ends []configs.Endpoint
			for _, n := range d.Nodes {
				ends = append(ends, configs.Endpoint{Node: n.Name, URL: "nats://" + l.relay(c.t, n.NATS)})
			}
			c.links[from+"/"+to] = l
			c.Topology.Links = append(c.Topology.Links, configs.Link{From: from, To: to, Endpoints: ends})
		}
	}
}

// File is the topology's file.
func (c *Cluster) File() string { return c.file }

// Node is one node's process.
func (c *Cluster) Node(dc, node string) *Process {
	p, ok := c.nodes[dc+"/"+node]
	if !ok {
		c.t.Fatalf("no node %s in %s", node, dc)
	}
	return p
}

// Nodes are the processes of a datacenter.
func (c *Cluster) Nodes(dc string) []*Process {
	d, ok := c.Topology.Datacenter(dc)
	if !ok {
		c.t.Fatalf("no datacenter %s", dc)
	}
	var out []*Process
	for _, n := range d.Nodes {
		out = append(out, c.Node(dc, n.Name))
	}
	return out
}

// Cut stops all bytes between two datacenters, both ways, without closing a connection.
func (c *Cluster) Cut(a, b string) {
	c.links[a+"/"+b].cut.Store(true)
	c.links[b+"/"+a].cut.Store(true)
}

// Heal undoes Cut: connections of before are reset, new ones work.
func (c *Cluster) Heal(a, b string) {
	c.links[a+"/"+b].heal()
	c.links[b+"/"+a].heal()
}

// Isolate cuts a datacenter off from all others; Rejoin heals that.
func (c *Cluster) Isolate(dc string) { c.others(dc, c.Cut) }

// Rejoin heals all links of a datacenter.
func (c *Cluster) Rejoin(dc string) { c.others(dc, c.Heal) }

func (c *Cluster) others(dc string, do func(a, b string)) {
	for _, d := range c.Topology.Datacenters {
		if d.Name != dc {
			do(dc, d.Name)
		}
	}
}

// SetClock makes the wall clocks of all nodes of a datacenter wrong by so much; 0 makes them right. It needs
// [Options.Clocks].
func (c *Cluster) SetClock(dc string, off time.Duration) {
	c.t.Helper()
	for _, p := range c.Nodes(dc) {
		path := filepath.Join(p.Spec.Dir, "clock-offset")
		if err := os.WriteFile(path+".new", []byte(off.String()), 0o600); err != nil {
			c.t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			c.t.Fatal(err)
		}
	}
}

// Client is an etcd client of a datacenter, with the endpoints of all its nodes.
func (c *Cluster) Client(dc string) *clientv3.Client {
	c.t.Helper()
	var eps []string
	for _, p := range c.Nodes(dc) {
		eps = append(eps, p.Spec.Client)
	}
	cli, err := clientv3.New(clientv3.Config{Endpoints: eps, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = cli.Close() })
	return cli
}

// Status is what a node's admin port tells; the fields are those of GET /v1/status.
type Status struct {
	DC       string           `json:"dc"`
	Node     string           `json:"node"`
	Leader   string           `json:"leader"`
	Term     uint64           `json:"term"`
	Revision int64            `json:"revision"`
	Digest   string           `json:"digest"`
	Vector   map[string]int64 `json:"vector"`
	Peers    []struct {
		DC            string   `json:"dc"`
		Health        string   `json:"health"`
		Reason        string   `json:"reason"`
		NeedsSnapshot string   `json:"needs_snapshot"`
		AckedRevision *int64   `json:"acked_revision"`
		SkewMillis    *float64 `json:"skew_ms"`
		LagTxns       *int64   `json:"lag_txns"`
		LagSeconds    *float64 `json:"lag_seconds"`
		RTTMillis     *float64 `json:"rtt_ms"`
		Verify        struct {
			State         string   `json:"state"`
			Reason        string   `json:"reason"`
			Rounds        uint64   `json:"rounds"`
			Equal         int      `json:"equal"`
			Pending       int      `json:"pending"`
			Different     int      `json:"different"`
			DifferentKeys int      `json:"different_keys"`
			LastOK        *float64 `json:"last_ok_age_seconds"`

			DifferentKeyspaces map[string]int `json:"different_keyspaces"`
		} `json:"verify"`
	} `json:"peers"`
	Clock *struct {
		State       string   `json:"state"`
		AheadMillis *float64 `json:"ahead_ms"`
		Refused     string   `json:"refused"`
	} `json:"clock"`
}

// Status asks one node.
func (p *Process) Status(ctx context.Context) (*Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Spec.Admin+"/v1/status", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var s Status
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, fmt.Errorf("%s: %w in %s", resp.Status, err, body)
	}
	return &s, nil
}

// Leader waits for a datacenter's leader.
func (c *Cluster) Leader(dc string) *Process {
	c.t.Helper()
	var found *Process
	c.Eventually(20*time.Second, "a leader in "+dc, func() string {
		for _, p := range c.Nodes(dc) {
			if !p.Running() {
				continue
			}
			s, err := p.Status(c.t.Context())
			if err == nil && s.Leader != "" {
				if leader := c.Node(dc, s.Leader); leader.Running() {
					found = leader
					return ""
				}
			}
		}
		return "no running node knows one"
	})
	return found
}

// WaitHealthy waits until every running datacenter's leader sees every peer healthy.
func (c *Cluster) WaitHealthy(within time.Duration) {
	c.t.Helper()
	c.Eventually(within, "every link to be healthy", func() string {
		for _, d := range c.Topology.Datacenters {
			s, err := c.Leader(d.Name).Status(c.t.Context())
			if err != nil {
				return err.Error()
			}
			for _, p := range s.Peers {
				if p.Health != "healthy" {
					return fmt.Sprintf("%s sees %s %s: %s", d.Name, p.DC, p.Health, p.Reason)
				}
			}
			if len(s.Peers) != len(c.Topology.Datacenters)-1 {
				return fmt.Sprintf("%s knows %d peers", d.Name, len(s.Peers))
			}
		}
		return ""
	})
}

// WaitEqual waits until all nodes of all datacenters have one vector and one digest, and returns the vector.
func (c *Cluster) WaitEqual(within time.Duration) map[string]int64 {
	c.t.Helper()
	var vector map[string]int64
	c.Eventually(within, "all nodes to have equal vectors", func() string {
		var first *Status
		for _, d := range c.Topology.Datacenters {
			for _, p := range c.Nodes(d.Name) {
				s, err := p.Status(c.t.Context())
				if err != nil {
					return err.Error()
				}
				if first == nil {
					first, vector = s, s.Vector
				}
				if a, b := fmt.Sprint(first.Vector), fmt.Sprint(s.Vector); a != b {
					return fmt.Sprintf("%s/%s has %s, %s/%s has %s", first.DC, first.Node, a, s.DC, s.Node, b)
				}
				if first.Digest != s.Digest || s.Digest == "" {
					c.t.Fatalf("equal vectors %v, unequal digests: %s/%s %q, %s/%s %q", s.Vector, first.DC, first.Node, first.Digest, s.DC, s.Node, s.Digest)
				}
			}
		}
		return ""
	})
	return vector
}

// Eventually polls until problem is empty, and fails the test with the last one.
func (c *Cluster) Eventually(within time.Duration, what string, problem func() string) {
	c.t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		p := problem()
		if p == "" {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("waited %s for %s: %s", within, what, p)
		}
		<-tick.C
	}
}

// FreeAddr is an address that nothing listens on.
func (c *Cluster) FreeAddr() string { return freeAddr(c.t) }

// logTail is the end of a log, for a failure's output.
func logTail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	const most = 6000
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return strings.TrimSpace(string(b))
}
