package node

import (
	"github.com/cespare/xxhash/v2"

	"geogate/configs"
)

// clusterID identifies a datacenter's Raft group, and is the cluster_id that clients of that datacenter
// see: another one in each, so a client that moves between datacenters notices.
func clusterID(t *configs.Topology, dc string) uint64 { return id(t.Cluster, dc) }

// nodeID identifies a node among the founders of its group. Names are never used again for another disk, so ids
// are not. A node that joins later is given its id by the group, and may have any name.
func nodeID(t *configs.Topology, dc, node string) uint64 { return id(t.Cluster, dc, node) }

func id(parts ...string) uint64 {
	h := xxhash.New()
	for _, p := range parts {
		_, _ = h.WriteString(p) // never fails
		_, _ = h.Write([]byte{0})
	}
	if v := h.Sum64(); v != 0 {
		return v
	}
	return 1
}
