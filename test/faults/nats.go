//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"geogate/configs"
)

const (
	natsModule  = "github.com/nats-io/nats-server/v2"
	natsProgram = "nats-server"
	natsPort    = "4222"
	routePort   = "6222"
)

// buildNATS compiles nats-server in the version that this module uses.
func buildNATS(ctx context.Context, bin string) error {
	text, err := exec.CommandContext(ctx, "go", "build", "-C", root(), "-o", bin, natsModule).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build %s: %w\n%s", natsModule, err, text)
	}
	return nil
}

// useNATS gives the first datacenter as many nats-servers, which it uses instead of those within its nodes.
// Each stands beside a node, in the same namespace. Nothing runs yet.
func (c *cluster) useNATS(count int) {
	d := &c.topology.Datacenters[0]
	beside := c.in(d.Name)[:count]
	at := func(n *node, port string) string { return "nats://" + net.JoinHostPort(n.site.Addr.String(), port) }
	var routes []string
	for _, n := range beside {
		d.NATS.URLs = append(d.NATS.URLs, at(n, natsPort))
		routes = append(routes, at(n, routePort))
	}
	d.NATS.Mode, d.NATS.Replicas = configs.External, count
	for i, n := range beside {
		name := fmt.Sprintf("nats%d", i)
		dir := filepath.Join(c.dir, d.Name, name)
		args := []string{
			c.file(natsProgram), "-n", name, "-a", n.site.Addr.String(), "-p", natsPort, "-js", "-sd", dir,
		}
		if count > 1 {
			args = append(args, "--cluster_name", d.Name, "--cluster", routes[i], "--routes", strings.Join(routes, ","))
		}
		c.nats = append(c.nats, &node{
			dc: d.Name, spec: configs.Node{Name: name, Dir: dir}, site: n.site, log: filepath.Join(c.dir, d.Name+"-"+name+".log"), args: args,
		})
	}
}

// startNATS builds nats-server and starts those that the topology names, before any node.
func (s *stage) startNATS(ctx context.Context) error {
	if err := buildNATS(ctx, s.c.file(natsProgram)); err != nil {
		return err
	}
	for _, n := range s.c.nats {
		if err := n.start(); err != nil {
			return err
		}
	}
	return nil
}

// wipe removes all that a process that is down has on its disk.
func wipe(n *node) error {
	if err := os.RemoveAll(n.spec.Dir); err != nil {
		return fmt.Errorf("wipe %s: %w", n, err)
	}
	return nil
}
