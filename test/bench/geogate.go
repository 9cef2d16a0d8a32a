package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"geogate/configs"
	"geogate/test/etcdbin/process"
)

const (
	// startTries bounds how often ports are chosen anew because somebody took one in between.
	startTries   = 3
	readyTimeout = time.Minute
)

// geogate is a datacenter of real nodes.
type geogate struct {
	nodes   []*process.Process
	clients []string
	admins  []string // in the order of clients
}

// startGeogate starts a datacenter of the given number of nodes and waits until each is ready.
func startGeogate(ctx context.Context, program, dir string, nodes int) (*geogate, error) {
	for try := 1; ; try++ {
		g, err := tryGeogate(ctx, program, filepath.Join(dir, fmt.Sprintf("geogate-of-%d-try%d", nodes, try)), nodes)
		if !errors.Is(err, process.ErrAddress) || try == startTries {
			return g, err
		}
	}
}

func tryGeogate(ctx context.Context, program, dir string, nodes int) (*geogate, error) {
	ports, err := process.Ports(portsPerNode * nodes)
	if err != nil {
		return nil, err
	}
	t := topology(dir, nodes, ports)
	file := filepath.Join(dir, "geogate.yaml")
	if err := writeTopology(t, file); err != nil {
		return nil, err
	}
	g := &geogate{}
	for _, n := range t.Datacenters[0].Nodes {
		p, err := process.Start(ctx, process.Config{
			Name: "geogate " + n.Name, Path: program, Log: filepath.Join(dir, n.Name+".log"),
			Args: []string{"serve", "--config", file, "--dc", datacenter, "--node", n.Name},
		})
		if err != nil {
			return nil, errors.Join(err, g.Stop())
		}
		g.nodes = append(g.nodes, p)
		g.clients = append(g.clients, n.Client)
		g.admins = append(g.admins, n.Admin)
	}
	if err := g.wait(ctx); err != nil {
		_ = g.Stop() // err says why
		return nil, err
	}
	return g, nil
}

func writeTopology(t *configs.Topology, file string) error {
	text, err := t.Encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("make a folder for geogate: %w", err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("write the topology: %w", err)
	}
	return nil
}

func (g *geogate) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for i, n := range g.nodes {
		if err := n.WaitReady(ctx, process.Answers200("http://"+g.admins[i]+"/readyz")); err != nil {
			return err
		}
	}
	return nil
}

// Endpoints are the nodes' client addresses.
func (g *geogate) Endpoints() []string { return g.clients }

// PIDs are the nodes' processes.
func (g *geogate) PIDs() []int {
	out := make([]int, len(g.nodes))
	for i, n := range g.nodes {
		out[i] = n.PID()
	}
	return out
}

// Stop stops the nodes.
func (g *geogate) Stop() error { return process.StopAll(g.nodes) }

// leaderAdmin is the admin address of the node that leads.
func (g *geogate) leaderAdmin(ctx context.Context) (string, error) {
	i, err := findLeader(ctx, g.clients)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoAdmin, err)
	}
	return g.admins[i], nil
}
