package replication

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"geogate/replication/policy"
)

// natsProcess is a nats-server as an operator would run it.
type natsProcess struct {
	args []string
	url  string
	cmd  *exec.Cmd
}

func (p *natsProcess) start(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (p *natsProcess) kill() {
	if p.cmd != nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		p.cmd = nil
	}
}

// natsCluster builds nats-server and starts three of them as one JetStream cluster.
func natsCluster(t *testing.T, name string) []*natsProcess {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "nats-server")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	var clients, routes []string
	for range 3 {
		clients = append(clients, freeAddr(t))
		routes = append(routes, freeAddr(t))
	}
	var servers []*natsProcess
	for i := range 3 {
		host, port, err := net.SplitHostPort(clients[i])
		if err != nil {
			t.Fatal(err)
		}
		p := &natsProcess{url: "nats://" + clients[i], args: []string{
			binary, "-a", host, "-p", port, "-js", "-sd", filepath.Join(dir, fmt.Sprint(i)), "-n", fmt.Sprintf("%s-%d", name, i),
			"--cluster_name", name, "--cluster", "nats://" + routes[i], "--routes", "nats://" + strings.Join(routes, ",nats://"),
			"-l", filepath.Join(dir, fmt.Sprintf("%d.log", i)),
		}}
		p.start(t)
		t.Cleanup(p.kill)
		servers = append(servers, p)
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("GEOGATE_TEST_LOG") != "" {
			for i := range 3 {
				b, _ := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%d.log", i)))
				t.Logf("server %d:\n%s", i, b)
			}
		}
	})
	return servers
}

// TestExternalCluster has DC a on three nats-server processes with an R3 stream and two nodes, and DC b on
// an embedded server.
func TestExternalCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three processes")
	}
	servers := natsCluster(t, "dc-a")
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.url)
	}
	c := prepareCluster(t, func(cfg *Config) {
		if cfg.Local == "a" {
			cfg.NATS = NATS{External: &External{URLs: urls}}
			cfg.withoutMACs = cfg.Node == "n2" // an older build
			return
		}
		cfg.PingInterval = time.Minute // the handshake must say what the new leader takes: b's connection is to its servers, and stays
		cfg.Peers[0].Endpoints = nil
		for _, u := range urls {
			cfg.Peers[0].Endpoints = append(cfg.Peers[0].Endpoints, Endpoint{URL: u})
		}
	}, "a", "b")
	c.addLink("a", "n2")
	n1, n2 := c.start("a", "n1"), c.start("a", "n2")
	c.start("b", "n1")
	c.nodes["b"]["n1"].lead(1)
	n1.lead(1)
	stop := c.load("a", 5*time.Millisecond)
	defer stop()

	flows := func(what string, leader *node) {
		t.Helper()
		since := time.Now()
		rev := c.dcs["a"].write(t, []byte(what))
		if got, err := leader.engine.Wait(within(t, 30*time.Second), rev, policy.All); err != nil {
			t.Fatalf("%s: %v, %v; %+v", what, got, err, c.peer("b", "a").Receiver)
		}
		t.Logf("%s: met after %s", what, time.Since(since))
	}
	flows("first", n1)
	stream, err := n1.engine.js.Stream(context.Background(), streamName("a"))
	if err != nil {
		t.Fatal(err)
	}
	if r := stream.CachedInfo().Config.Replicas; r != 3 {
		t.Errorf("the stream has %d replicas", r)
	}

	n1.endLead()
	n2.lead(2)
	flows("another node leads", n2)

	if err := n2.engine.js.DeleteStream(context.Background(), streamName("a")); err != nil {
		t.Fatal(err)
	}
	flows("stream deleted", n2)

	leader := streamLeader(t, n2.engine.js)
	for i, s := range servers {
		if fmt.Sprintf("dc-a-%d", i) == leader {
			s.kill()
			flows("the stream's server killed", n2)
			s.start(t)
		}
	}
	flows("the server is back", n2)
	stop()
	c.settle(20 * time.Second)
}

func streamLeader(t *testing.T, js jetstream.JetStream) string {
	t.Helper()
	var name string
	eventually(t, 10*time.Second, "the stream has a leader", func() bool {
		s, err := js.Stream(context.Background(), streamName("a"))
		if err == nil && s.CachedInfo().Cluster != nil {
			name = s.CachedInfo().Cluster.Leader
		}
		return name != ""
	})
	return name
}

func TestExternalServerIsAwaited(t *testing.T) {
	// The cluster may come up after the node; opening must not fail for that.
	c := prepareCluster(t, func(cfg *Config) {
		cfg.NATS = NATS{External: &External{URLs: []string{"nats://" + freeAddr(t)}}}
	}, "a", "b")
	c.start("a", "n1")
	n := c.nodes["a"]["n1"]
	n.lead(1)
	if n.engine.nc.Status() == nats.CONNECTED {
		t.Error("connected to nothing")
	}
	rev := c.dcs["a"].write(t, []byte("x"))
	if _, err := n.engine.Wait(within(t, time.Second), rev, policy.Async); err != nil {
		t.Error(err)
	}
}
