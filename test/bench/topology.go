package main

import (
	"fmt"
	"path/filepath"

	"geogate/configs"
)

const datacenter = "bench"

// portsPerNode are client, raft and admin.
const portsPerNode = 3

// topology is one datacenter without peers, everything else at its default.
func topology(dir string, nodes int, ports []int) *configs.Topology {
	t := configs.Default()
	t.Cluster = "bench"
	dc := configs.Datacenter{Name: datacenter}
	for i := range nodes {
		p := ports[portsPerNode*i:]
		name := fmt.Sprintf("n%d", i)
		dc.Nodes = append(dc.Nodes, configs.Node{
			Name: name, Dir: filepath.Join(dir, name),
			Client: address(p[0]), Raft: address(p[1]), Admin: address(p[2]),
		})
	}
	t.Datacenters = []configs.Datacenter{dc}
	return t
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
