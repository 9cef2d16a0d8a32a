package node

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"geogate/configs"
	"geogate/consensus"
	"geogate/dc"
	"geogate/gateway"
	"geogate/replication"
)

var _ gateway.Membership = (*roster)(nil)

// roster shows the group's membership in the gateway's words.
type roster struct {
	*dc.DC
	peerScheme string

	made atomic.Pointer[rosterList]
}

// rosterList is a translated membership.
type rosterList struct {
	of      *consensus.Membership
	members []gateway.Member
}

// Members implements [gateway.Membership]. Requests ask often, and the answer changes rarely.
func (r *roster) Members() []gateway.Member {
	m := r.Membership()
	if l := r.made.Load(); l != nil && l.of == m {
		return l.members
	}
	l := &rosterList{of: m}
	for _, x := range m.Members {
		g := gateway.Member{ID: x.ID, Name: x.Name, Learner: x.Learner, PeerURLs: []string{r.peerScheme + x.Addr}, ClientURLs: x.ClientURLs}
		if len(x.ClientURLs) > 0 {
			if u, err := url.Parse(x.ClientURLs[0]); err == nil {
				g.ClientAddr = u.Host
			}
		}
		if x.Admin != "" {
			g.AdminURL = "http://" + x.Admin
		}
		l.members = append(l.members, g)
	}
	r.made.Store(l)
	return l.members
}

// endpoints are the nodes as the other datacenters find them.
func endpoints(m *consensus.Membership) (out []replication.Endpoint) {
	for _, x := range m.Members {
		if x.NATS != "" {
			out = append(out, replication.Endpoint{Node: x.Name, URL: "nats://" + x.NATS})
		}
	}
	return out
}

// name is a node's name, "" when it is not known.
func (n *Node) name(id uint64) string {
	if m, ok := n.dc.Membership().Member(id); ok {
		return m.Name
	}
	return ""
}

// tell keeps replication informed of who the nodes are.
func (n *Node) tell(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := n.dc.MembershipChanged()
		n.engine.SetLeader(n.name(n.dc.Leader())) // who leads may have been known before its name was
		if n.site.NATS.Mode == configs.Embedded {
			n.engine.SetNodes(endpoints(n.dc.Membership()))
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	return nil
}

// self is what a node of the topology tells its group of itself.
func self(t *configs.Topology, x *configs.Node) consensus.Member {
	return consensus.Member{
		Addr: x.Raft, Name: x.Name, ClientURLs: []string{scheme(t.Security.Client) + x.Client}, Admin: x.Admin, NATS: x.NATS,
	}
}

// place finds out which member this node is and fills in what consensus needs for that. Its log says so when there
// is one; else it founds the group with the others of the topology, or asks the group which member it was added as.
func (n *Node) place(cc *consensus.Config) error {
	t := n.cfg.Topology
	cc.Self = self(t, n.spec)
	if err := dc.FinishForce(n.spec.Dir); err != nil {
		return err
	}
	id, known, err := consensus.ReadIdentity(n.spec.Dir)
	switch {
	case err != nil:
		return err
	case known && id.Joined && (id.Name != n.cfg.Node || id.ClusterID != cc.ClusterID):
		return fmt.Errorf("%w: it is of node %q that joined group %x, this is group %x", consensus.ErrForeign, id.Name, id.ClusterID, cc.ClusterID)
	case known && id.Joined:
		me := cc.Self
		me.ID = id.NodeID
		cc.NodeID, cc.Join, cc.Members = id.NodeID, true, []consensus.Member{me}
		return nil
	case !known && (n.spec.Join || n.cfg.Join):
		return n.discover(cc)
	}
	cc.NodeID = nodeID(t, n.cfg.DC, n.cfg.Node)
	founders := n.site.Founders()
	if n.spec.Join { // it founded the group once; its log says with whom
		founders = append(founders, *n.spec)
	}
	for i := range founders {
		m := self(t, &founders[i])
		m.ID = nodeID(t, n.cfg.DC, m.Name)
		cc.Members = append(cc.Members, m)
	}
	return nil
}

// discover asks the other nodes of the datacenter which member this node is.
func (n *Node) discover(cc *consensus.Config) error {
	var ask []string
	for _, x := range n.site.Nodes {
		if x.Name != n.cfg.Node {
			ask = append(ask, x.Raft)
		}
	}
	if len(ask) == 0 {
		return fmt.Errorf("node %s is to join, and the topology names no other node of %s to ask; list those that run", n.cfg.Node, n.cfg.DC)
	}
	var err error
	cc.Join = true
	cc.NodeID, cc.Members, err = consensus.Discover(context.Background(), consensus.Discovery{
		ClusterID: cc.ClusterID, Addr: n.spec.Raft, Ask: ask, TLS: cc.TLS, Logger: n.log,
	})
	if errors.Is(err, consensus.ErrNotListed) {
		err = fmt.Errorf("%w; on a running node: etcdctl --endpoints=HOST:PORT member add %s --learner --peer-urls=%s%s",
			err, n.cfg.Node, scheme(n.cfg.Topology.Security.Raft), n.spec.Raft)
	}
	return err
}

// compare says where the topology's list of nodes is not what the group knows. The group counts.
func (n *Node) compare() {
	m := n.dc.Membership()
	var listed, members []string
	for _, x := range n.site.Nodes {
		listed = append(listed, x.Name+"="+x.Raft)
	}
	for _, x := range m.Members {
		members = append(members, x.Name+"="+x.Addr)
	}
	slices.Sort(listed)
	slices.Sort(members)
	if !slices.Equal(listed, members) {
		n.log.Warn("the nodes in the topology file are not the members of the group; the group counts, correct the file",
			"file", strings.Join(listed, ","), "members", strings.Join(members, ","))
	}
}
