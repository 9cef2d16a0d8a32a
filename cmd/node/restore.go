package node

import (
	"fmt"

	"geogate/configs"
	"geogate/dc"
)

// RestoreConfig says which node of which topology gets the data of a backup.
type RestoreConfig struct {
	Topology  *configs.Topology
	DC, Node  string
	Backup    string // file
	Dir       string // of the data; "" means the node's own in the topology
	Bump      int64  // of the revision; see [dc.RestoreConfig], as is the next
	Resurrect bool
}

// Restore makes the data of a node, which must not run, out of a backup.
func Restore(cfg RestoreConfig) (dc.Restored, error) {
	site, ok := cfg.Topology.Datacenter(cfg.DC)
	if !ok {
		return dc.Restored{}, fmt.Errorf("the topology has no datacenter %q", cfg.DC)
	}
	spec, ok := site.Node(cfg.Node)
	if !ok {
		return dc.Restored{}, fmt.Errorf("datacenter %s has no node %q", cfg.DC, cfg.Node)
	}
	rc := dc.RestoreConfig{
		Backup: cfg.Backup, Name: cfg.DC, Dir: cfg.Dir, Bump: cfg.Bump, Resurrect: cfg.Resurrect,
		ClusterID: clusterID(cfg.Topology, cfg.DC), NodeID: nodeID(cfg.Topology, cfg.DC, cfg.Node),
	}
	if rc.Dir == "" {
		rc.Dir = spec.Dir
	}
	for _, x := range site.Nodes {
		rc.Members = append(rc.Members, nodeID(cfg.Topology, cfg.DC, x.Name))
	}
	return dc.RestoreBackup(rc)
}
