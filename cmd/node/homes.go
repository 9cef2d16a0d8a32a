package node

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"

	"google.golang.org/grpc/codes"

	"geogate/dc"
	"geogate/gateway"
	"geogate/gateway/admin"
	"geogate/replication"
	"geogate/replication/homes"
	"geogate/replication/registrar"
)

var (
	_ registrar.Acceptor = (*dc.DC)(nil)
	_ admin.Quarantine   = quarantine{}
)

// addHomes tells replication of the single-writer keyspaces and the witnesses.
func (n *Node) addHomes(c *replication.Config) {
	t := n.cfg.Topology
	c.Witness = n.site.Witness
	for i := range c.Peers {
		peer, _ := t.Datacenter(c.Peers[i].Name)
		c.Peers[i].Witness = peer.Witness
	}
	if c.Witness {
		c.Snapshots, c.Verified = nil, nil
	}
	for _, k := range t.SingleWriters() {
		c.Homes, c.Asides = n.dc, n.dc
		c.Keyspaces = append(c.Keyspaces, registrar.Keyspace{
			Prefix: k.Prefix, Home: k.Home, Automatic: k.AutomaticFailover.Enabled, HoldOff: k.AutomaticFailover.HoldOff,
		})
	}
	if !c.Witness {
		n.calls = &calls{}
		c.Calls = n.calls
	}
	c.HomeLease = homes.Terms{Duration: t.Timing.HomeLease, DriftPPM: int64(t.Timing.MaxClockDriftPPM)}
}

// calls answers other datacenters' calls with the gateway, which is opened after replication.
type calls struct {
	to atomic.Pointer[gateway.Server]
}

// Serve implements [replication.Calls].
func (c *calls) Serve(ctx context.Context, from string, r replication.Request) replication.Reply {
	if g := c.to.Load(); g != nil {
		return g.Serve(ctx, from, r)
	}
	return replication.Reply{Code: uint32(codes.Unavailable), Message: "geogate: this node is starting; nothing was done"}
}

// others gives the gateway what it needs of other datacenters; nothing at a witness.
func (n *Node) others(c *gateway.Config) {
	if n.calls == nil {
		return
	}
	c.Calls, c.Origins, c.Peers = n.engine, gateway.Local{DC: n.dc}, n.dataPeers()
	if len(n.cfg.Topology.SingleWriters()) > 0 {
		c.Homes = n.engine
	}
	c.HomeEndpoints = map[string][]string{}
	for _, name := range c.Peers {
		peer, _ := n.cfg.Topology.Datacenter(name)
		for _, node := range peer.Nodes {
			c.HomeEndpoints[name] = append(c.HomeEndpoints[name], scheme(n.cfg.Topology.Security.Client)+node.Client)
		}
	}
}

// dataPeers are the other datacenters that frames are exchanged with.
func (n *Node) dataPeers() []string {
	if n.site.Witness {
		return nil
	}
	return n.without(n.cfg.Topology.DataNames())
}

// homesOf is the admin API's way to the homes; nil without single-writer keyspaces.
func (n *Node) homesOf() (admin.Homes, admin.Quarantine) {
	if len(n.cfg.Topology.SingleWriters()) == 0 {
		return nil, nil
	}
	return n.engine, quarantine{n.dc, clusterID(n.cfg.Topology, n.cfg.DC)}
}

// quarantine shows what was set aside in the admin API's words.
type quarantine struct {
	dc      *dc.DC
	cluster uint64 // as clients see it
}

func (q quarantine) Aside(keyspace string, after uint64, limit int) ([]admin.AsideWrite, error) {
	list, err := q.dc.Aside(keyspace, after, limit)
	if err != nil {
		return nil, fmt.Errorf("writes of %q that were set aside: %w", keyspace, err)
	}
	out := make([]admin.AsideWrite, len(list))
	for i := range list {
		w := &list[i]
		out[i] = admin.AsideWrite{
			ID: w.ID, Keyspace: w.Keyspace, Epoch: w.Epoch, Origin: w.Origin.DC, Life: w.Origin.String(), Revision: w.Revision,
			Key: w.Key, Old: w.Old, New: w.New, Deleted: w.Deleted, Lease: w.Lease, Policy: w.Policy, SetAside: w.SetAside,
		}
		if w.Base != nil {
			out[i].Base = &admin.KeyState{Origin: w.Base.Origin, Revision: w.Base.Revision, Stamp: uint64(w.Base.Stamp), Live: w.Base.Live}
		}
	}
	return out, nil
}

func (q quarantine) Key(key []byte) (admin.KeyReport, error) {
	s, err := q.dc.Written(key)
	if err != nil {
		return admin.KeyReport{}, fmt.Errorf("state of %q: %w", key, err)
	}
	out := admin.KeyReport{Cluster: strconv.FormatUint(q.cluster, 16), ModRevision: s.Mod}
	out.KeyState = admin.KeyState{Origin: s.Origin, Revision: s.Revision, Stamp: uint64(s.Stamp), Live: s.Live}
	return out, nil
}

func (q quarantine) DiscardAside(ctx context.Context, keyspace string, ids []uint64) error {
	return q.dc.DiscardAside(ctx, keyspace, ids)
}
