package dev

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"geogate/configs"
)

// Cluster is several datacenters in this process. Open it, run it, close it.
type Cluster struct {
	config   Config
	folder   *folder
	links    *Links
	topology *configs.Topology
	dcs      []*datacenter
	control  *control
	failures chan error // of nodes that ended by themselves; room for one, the first counts
}

// Open takes the folder, makes or reads its topology and starts the links. The nodes start with Run.
func Open(c Config) (_ *Cluster, err error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	f, err := openFolder(c.Dir)
	if err != nil {
		return nil, err
	}
	cl := &Cluster{config: c, folder: f, failures: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, cl.Close())
		}
	}()
	if cl.topology, err = f.topology(&c); err != nil {
		return nil, err
	}
	if cl.links, err = OpenLinks(cl.topology, c.RTT); err != nil {
		return nil, err
	}
	cl.topology.Links = cl.links.Topology()
	for i := range cl.topology.Datacenters {
		d := &cl.topology.Datacenters[i]
		open := func(node string) (Node, error) { return c.Open(cl.topology, d.Name, node) }
		cl.dcs = append(cl.dcs, newDatacenter(d, open, cl.fail, c.Logger))
	}
	if cl.control, err = openControl(cl); err != nil {
		return nil, err
	}
	return cl, nil
}

// Topology is what the nodes run, the links through the proxies included. It is read-only.
func (c *Cluster) Topology() *configs.Topology { return c.topology }

// Links are the WAN between the datacenters.
func (c *Cluster) Links() *Links { return c.links }

// Run starts every datacenter and the control server, and stops them when ctx ends or a node fails.
func (c *Cluster) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- c.control.run(ctx) }()

	err := c.startAll()
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-c.failures:
		}
	}
	cancel()
	err = errors.Join(err, <-served) // no action begins any more
	c.stopAll()
	select {
	case late := <-c.failures:
		err = errors.Join(err, late)
	default:
	}
	return err
}

func (c *Cluster) startAll() error {
	for _, d := range c.dcs {
		if err := d.do(Start); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) stopAll() {
	var wg sync.WaitGroup
	for _, d := range c.dcs {
		wg.Go(func() { _ = d.do(Stop) }) // one that does not run needs no stop
	}
	wg.Wait()
}

// Do stops, kills or starts a datacenter and returns when that is complete.
func (c *Cluster) Do(dc string, a Action) error {
	i := slices.IndexFunc(c.dcs, func(d *datacenter) bool { return d.name == dc })
	if i < 0 {
		return fmt.Errorf("%w datacenter %q; there are: %s", ErrUnknown, dc, strings.Join(c.topology.Names(), ", "))
	}
	return c.dcs[i].do(a)
}

// State is the state of each datacenter: Running, Stopped or Killed.
func (c *Cluster) State() map[string]string {
	out := map[string]string{}
	for _, d := range c.dcs {
		out[d.name] = d.status()
	}
	return out
}

// Close releases the folder and the links. Run must have returned.
func (c *Cluster) Close() error {
	var err error
	if c.control != nil {
		err = c.control.close()
	}
	if c.links != nil {
		c.links.Close()
	}
	return errors.Join(err, c.folder.close())
}

// fail keeps the first failure; Run reports it.
func (c *Cluster) fail(err error) {
	select {
	case c.failures <- err:
	default:
		c.config.Logger.Error("one more node failed", "err", err)
	}
}
