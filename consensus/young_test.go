package consensus

import (
	"slices"
	"testing"
	"time"
)

// wipe takes a node's disk from it.
func (g *group) wipe(s *site) { s.disk, s.dir = &disk{}, g.t.TempDir() }

// leaderless watches for several election timeouts that none of the nodes leads another one. Who led before does not count.
func (g *group) leaderless(sites ...*site) {
	g.t.Helper()
	for range 50 {
		time.Sleep(5 * sites[0].node.cfg.heartbeatInterval())
		for _, s := range sites {
			if st := s.node.Status(); slices.ContainsFunc(sites, func(o *site) bool { return o.id == st.Leader }) {
				g.t.Fatalf("node %x follows %x in term %d", s.id, st.Leader, st.Term)
			}
		}
	}
}

// Two of three are a majority, and if they could not know whether the third has data they would found a second group beside it.
func TestFoundingWaitsForAll(t *testing.T) {
	g := planGroup(t, 3, nil)
	t.Cleanup(g.end)
	g.start(g.sites[0])
	g.start(g.sites[1])
	g.leaderless(g.sites[0], g.sites[1])
	g.start(g.sites[2])
	g.put("all are there")
	g.everywhere(g.leader())
	for _, s := range g.sites { // from then on a majority is enough
		g.kill(s)
	}
	g.start(g.sites[0])
	g.start(g.sites[1])
	g.put("two are there", g.sites[2])
	g.start(g.sites[2])
	g.everywhere(g.leader())
}

func TestTwoWipedNodesFoundNoGroup(t *testing.T) {
	g := newGroup(t, 3, nil)
	g.put("of all three")
	left := g.leader()
	g.everywhere(left)
	for _, s := range g.sites {
		g.kill(s)
		if s != left {
			g.wipe(s)
		}
	}
	for _, s := range g.sites {
		g.start(s)
	}
	g.leaderless(g.sites...)
}
