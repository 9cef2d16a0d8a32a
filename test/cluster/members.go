package cluster

import (
	"path/filepath"
	"slices"

	"geogate/configs"
)

// NewNode makes up a node that a datacenter does not have yet.
func (c *Cluster) NewNode(dc, name string) configs.Node {
	return configs.Node{
		Name: name, Client: freeAddr(c.t), Raft: freeAddr(c.t), Admin: freeAddr(c.t), NATS: freeAddr(c.t),
		Dir: filepath.Join(c.dir, dc, name),
	}
}

// AddNode puts a node into the topology, for itself and those that start later; with join it enters the group that
// is there.
func (c *Cluster) AddNode(dc string, n configs.Node, join bool) *Process {
	c.t.Helper()
	d, ok := c.Topology.Datacenter(dc)
	if !ok {
		c.t.Fatalf("no datacenter %s", dc)
	}
	n.Join = join
	d.Nodes = append(d.Nodes, n)
	c.WriteTopology()
	p := newProcess(c.t, Binary(c.t), c.file, dc, n)
	c.nodes[dc+"/"+n.Name] = p
	return p
}

// DropNodes takes nodes that have ended out of the topology.
func (c *Cluster) DropNodes(dc string, names ...string) {
	c.t.Helper()
	d, ok := c.Topology.Datacenter(dc)
	if !ok {
		c.t.Fatalf("no datacenter %s", dc)
	}
	d.Nodes = slices.DeleteFunc(d.Nodes, func(n configs.Node) bool { return slices.Contains(names, n.Name) })
	c.WriteTopology()
}
