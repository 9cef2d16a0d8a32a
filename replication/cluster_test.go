package replication

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"

	"geogate/test/etcdbin/process"
)

// TestMain looks for goroutines that are left. nats-server now and then leaves these two behind for a stream
// that was deleted while its server shut down, or whose files went before it; a server that was not shut
// down would leave many others as well.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
		// Deleting the files of a stream outlives the server by a moment, longer on a busy machine.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.removeAllWithRetry"))
}

// cluster is a set of DCs with real NATS servers on loopback. Links between them go through proxies.
type cluster struct {
	t     testing.TB
	names []string
	keys  map[string]nkeys.KeyPair
	dcs   map[string]*model
	nodes map[string]map[string]*node // DC, node
	links map[string]map[string]*proxy
	tune  func(*Config)
}

// node is an engine with what drives it.
type node struct {
	c        *cluster
	dc, name string
	dir      string
	engine   *Engine
	stop     func() // ends Run, Lead and the engine
	stopLead func()
}

func userKey(t testing.TB) nkeys.KeyPair {
	t.Helper()
	k, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func public(t testing.TB, k nkeys.KeyPair) string {
	t.Helper()
	p, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newCluster starts one node per DC, which leads. More nodes can be added.
func newCluster(t testing.TB, tune func(*Config), names ...string) *cluster {
	c := prepareCluster(t, tune, names...)
	for _, dc := range names {
		c.start(dc, "n1")
		c.nodes[dc]["n1"].lead(1)
	}
	return c
}

// prepareCluster makes keys, models and the links to node n1 of each DC, and starts nothing.
func prepareCluster(t testing.TB, tune func(*Config), names ...string) *cluster {
	t.Helper()
	c := &cluster{
		t: t, names: names, keys: map[string]nkeys.KeyPair{}, dcs: map[string]*model{},
		nodes: map[string]map[string]*node{}, links: map[string]map[string]*proxy{}, tune: tune,
	}
	for _, dc := range names {
		c.keys[dc] = userKey(t)
		c.dcs[dc] = newModel(dc)
		c.nodes[dc] = map[string]*node{}
		c.links[dc] = map[string]*proxy{}
		c.addLink(dc, "n1")
	}
	t.TempDir() // so that directories go after the servers in them, not before
	t.Cleanup(func() {
		for _, nodes := range c.nodes {
			for _, n := range nodes {
				n.stop()
			}
		}
	})
	return c
}

// addLink makes the way to a node of a DC known to the others, before the node is there.
func (c *cluster) addLink(dc, name string) {
	c.links[dc][name] = newProxy(c.t, freeAddr(c.t))
}

// freeAddr is an address that was free a moment ago.
func freeAddr(t testing.TB) string {
	t.Helper()
	ports, err := process.Ports(1)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
}

func (c *cluster) config(dc, name, dir string) Config {
	m := c.dcs[dc]
	cfg := Config{
		Local: dc, Node: name, Incarnation: m.Incarnation, Key: c.keys[dc],
		NATS:  NATS{Embedded: &Embedded{ListenAddr: "127.0.0.1:0", StoreDir: dir}},
		Chain: m, Applier: m, Confirmer: m,
		ConfirmInterval: 100 * time.Millisecond,
	}
	if testing.Verbose() && os.Getenv("GEOGATE_TEST_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", dc+"/"+name)
	}
	for _, other := range c.names {
		if other == dc {
			continue
		}
		p := Peer{Name: other, PublicKey: public(c.t, c.keys[other])}
		for i := range len(c.links[other]) {
			n := fmt.Sprintf("n%d", i+1)
			p.Endpoints = append(p.Endpoints, Endpoint{Node: n, URL: c.links[other][n].url()})
		}
		cfg.Peers = append(cfg.Peers, p)
	}
	if c.tune != nil {
		c.tune(&cfg)
	}
	return cfg
}

// start opens and runs a node with a directory of its own.
func (c *cluster) start(dc, name string) *node {
	c.t.Helper()
	dir := c.t.TempDir()
	if old := c.nodes[dc][name]; old != nil {
		dir = old.dir
	}
	n := &node{c: c, dc: dc, name: name, dir: dir}
	engine, err := Open(c.config(dc, name, dir))
	if err != nil {
		c.t.Fatalf("open %s/%s: %v", dc, name, err)
	}
	n.engine = engine
	if addr := engine.Addr(); addr != "" {
		c.links[dc][name].retarget(addr)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := engine.Run(ctx); err != nil {
			c.t.Errorf("run %s/%s: %v", dc, name, err)
		}
	})
	n.stop = sync.OnceFunc(func() {
		n.endLead()
		cancel()
		wg.Wait()
		engine.Close()
	})
	c.nodes[dc][name] = n
	return n
}

func (n *node) lead(term uint64) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.engine.Lead(ctx, term); err != nil {
			n.c.t.Errorf("lead %s/%s: %v", n.dc, n.name, err)
		}
	}()
	n.stopLead = func() {
		cancel()
		<-done
	}
	eventually(n.c.t, 5*time.Second, "lead begins", func() bool { return n.engine.current.Load() != nil })
}

func (n *node) endLead() {
	if n.stopLead != nil {
		n.stopLead()
		n.stopLead = nil
	}
}

func (c *cluster) engine(dc string) *Engine { return c.nodes[dc]["n1"].engine }

func (c *cluster) peer(dc, other string) PeerStatus {
	for _, s := range c.engine(dc).Peers() {
		if s.DC == other {
			return s
		}
	}
	c.t.Fatalf("%s has no peer %s", dc, other)
	return PeerStatus{}
}

// settle waits until every DC has everything of every other one, and checks the order.
func (c *cluster) settle(within time.Duration) {
	c.t.Helper()
	for _, to := range c.names {
		for _, from := range c.names {
			eventually(c.t, within, fmt.Sprintf("%s has all of %s (%s)", to, from, c.where(to, from)), func() bool {
				return c.dcs[to].Position(from).Revision == c.dcs[from].Position(from).Revision
			})
		}
	}
	c.check()
}

func (c *cluster) where(to, from string) string {
	return fmt.Sprintf("at %d of %d", c.dcs[to].Position(from).Revision, c.dcs[from].Position(from).Revision)
}

func (c *cluster) check() {
	c.t.Helper()
	for _, to := range c.names {
		for _, from := range c.names {
			if to != from {
				c.dcs[to].checkPrefix(c.t, c.dcs[from])
			}
		}
	}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
