package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"geogate/cmd/dev"
	"geogate/configs"
	"geogate/test/etcdbin/process"
)

// region is some datacenters of real nodes. Everything between them goes through relays that count and delay.
type region struct {
	program  string
	dir      string
	file     string
	topology *configs.Topology
	relays   []*relay
	dcs      []*geogate // in the order of the topology
}

// meetTimeout is for all datacenters to have a leader and to hear from each other.
const meetTimeout = 2 * time.Minute

// portsPerPeer are client, raft, admin and NATS.
const portsPerPeer = 4

// startRegion starts dcs datacenters of nodes each and waits until every one hears from every other.
func startRegion(ctx context.Context, program, dir string, dcs, nodes int) (*region, error) {
	for try := 1; ; try++ {
		g, err := tryRegion(ctx, program, filepath.Join(dir, fmt.Sprintf("region-%d-of-%d-try%d", dcs, nodes, try)), dcs, nodes)
		if !errors.Is(err, process.ErrAddress) || try == startTries {
			return g, err
		}
	}
}

func tryRegion(ctx context.Context, program, dir string, dcs, nodes int) (_ *region, err error) {
	ports, err := process.Ports(portsPerPeer * nodes * dcs)
	if err != nil {
		return nil, err
	}
	g := &region{program: program, dir: dir, file: filepath.Join(dir, "geogate.yaml")}
	if g.topology, err = peers(dir, dcs, nodes, ports); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = g.Stop() // err says why
		}
	}()
	if err := g.connect(); err != nil {
		return nil, err
	}
	if err := writeTopology(g.topology, g.file); err != nil {
		return nil, err
	}
	for i := range g.topology.Datacenters {
		d, err := g.start(ctx, i)
		if err != nil {
			return nil, err
		}
		g.dcs = append(g.dcs, d)
	}
	for _, d := range g.dcs {
		if err := d.wait(ctx); err != nil {
			return nil, err
		}
	}
	return g, g.meet(ctx)
}

// peers is a topology of datacenters with keys, everything else at its default.
func peers(dir string, dcs, nodes int, ports []int) (*configs.Topology, error) {
	t := configs.Default()
	t.Cluster = "bench"
	for i := range dcs {
		d := configs.Datacenter{Name: fmt.Sprintf("dc%d", i+1), NATS: configs.NATS{Mode: configs.Embedded}}
		d.KeyFile = filepath.Join(dir, "keys", d.Name+".seed")
		var err error
		if d.PublicKey, err = configs.NewKey(d.KeyFile); err != nil {
			return nil, fmt.Errorf("make the key of %s: %w", d.Name, err)
		}
		for j := range nodes {
			p := ports[portsPerPeer*(i*nodes+j):]
			name := fmt.Sprintf("n%d", j)
			d.Nodes = append(d.Nodes, configs.Node{
				Name: name, Dir: filepath.Join(dir, d.Name, name),
				Client: address(p[0]), Raft: address(p[1]), Admin: address(p[2]), NATS: address(p[3]),
			})
		}
		t.Datacenters = append(t.Datacenters, d)
	}
	return t, nil
}

// connect puts a relay before each node's NATS, and leads all other datacenters through it.
func (g *region) connect() error {
	for _, to := range g.topology.Datacenters {
		var ends []configs.Endpoint
		for _, n := range to.Nodes {
			r, err := openRelay(n.NATS)
			if err != nil {
				return err
			}
			g.relays = append(g.relays, r)
			ends = append(ends, configs.Endpoint{Node: n.Name, URL: "nats://" + r.Address()})
		}
		for _, from := range g.topology.Datacenters {
			if from.Name != to.Name {
				g.topology.Links = append(g.topology.Links, configs.Link{From: from.Name, To: to.Name, Endpoints: ends})
			}
		}
	}
	return nil
}

// start starts all nodes of a datacenter, on the data that they have.
func (g *region) start(ctx context.Context, i int) (*geogate, error) {
	spec := g.topology.Datacenters[i]
	d := &geogate{}
	for _, n := range spec.Nodes {
		p, err := process.Start(ctx, process.Config{
			Name: "geogate " + spec.Name + "/" + n.Name, Path: g.program, Log: filepath.Join(g.dir, spec.Name+"-"+n.Name+".log"),
			Args: []string{"serve", "--config", g.file, "--dc", spec.Name, "--node", n.Name},
		})
		if err != nil {
			return nil, errors.Join(err, d.Stop())
		}
		d.nodes = append(d.nodes, p)
		d.clients = append(d.clients, n.Client)
		d.admins = append(d.admins, n.Admin)
	}
	return d, nil
}

// meet waits until every datacenter hears from every other.
func (g *region) meet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	return dev.WaitReady(ctx, g.topology, nil)
}

// delay gives every link this round trip time, and waits until the datacenters hear from each other again.
func (g *region) delay(ctx context.Context, rtt time.Duration) error {
	for _, r := range g.relays {
		r.delay.Store(int64(rtt / 2))
	}
	return g.meet(ctx)
}

// bytes are all that crossed the links so far, both ways.
func (g *region) bytes() (sum int64) {
	for _, r := range g.relays {
		sum += r.bytes.Load()
	}
	return sum
}

// name is that of a datacenter.
func (g *region) name(i int) string { return g.topology.Datacenters[i].Name }

// Stop stops everything.
func (g *region) Stop() error {
	var errs []error
	for _, d := range g.dcs {
		errs = append(errs, d.Stop())
	}
	for _, r := range g.relays {
		r.Close()
	}
	return errors.Join(errs...)
}
