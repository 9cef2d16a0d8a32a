package dev

import (
	"fmt"
	"net"
	"path"
	"strconv"

	"geogate/configs"
)

// Node j of datacenter i, both from 0, has the five ports from base + 100*i + 10*j on: client, Raft, admin,
// NATS, and one kept for NATS routes, which the embedded servers do not use.
const (
	portsPerDC   = 100
	portsPerNode = 10
	clientPort   = 0
	raftPort     = 1
	adminPort    = 2
	natsPort     = 3
)

// layout is the topology of a new cluster. Its paths are relative to the cluster's folder.
func layout(dcs []string, nodes int, basePort int, publicKey func(dc string) (string, error)) (*configs.Topology, error) {
	t := configs.Default()
	t.Cluster = "dev"
	t.Log.Level = "warn" // three datacenters talk at once here
	for _, name := range dcs {
		key, err := publicKey(name)
		if err != nil {
			return nil, err
		}
		d := configs.Datacenter{Name: name, PublicKey: key, KeyFile: keyFile(name)}
		for j := range nodes {
			node := fmt.Sprintf("n%d", j)
			d.Nodes = append(d.Nodes, configs.Node{Name: node, Dir: path.Join("data", name, node)})
		}
		t.Datacenters = append(t.Datacenters, d)
	}
	assign(t, basePort)
	return t, nil
}

func keyFile(dc string) string { return path.Join("keys", dc+".seed") }

// assign gives every node its addresses.
func assign(t *configs.Topology, basePort int) {
	for i := range t.Datacenters {
		nodes := t.Datacenters[i].Nodes
		for j := range nodes {
			first := basePort + portsPerDC*i + portsPerNode*j
			addr := func(offset int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(first+offset)) }
			n := &nodes[j]
			n.Client, n.Raft, n.Admin, n.NATS = addr(clientPort), addr(raftPort), addr(adminPort), addr(natsPort)
		}
	}
}
