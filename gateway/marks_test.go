package gateway

import (
	"testing"

	"geogate/replication"
	"geogate/replication/event"
)

// marked is a replica that has heard of ended lives.
type marked struct {
	fedNode
	marks []event.Mark
}

func (m marked) Marks() ([]event.Mark, int64, event.Stamp) { return m.marks, 0, 0 }

// A datacenter tells what it has written and what it has of lives that have ended, which nobody else may ever tell again;
// of a majority all counts.
func TestMarksThatAreTold(t *testing.T) {
	mark := func(dc string, incarnation uint64, revision int64, past bool) event.Mark {
		return event.Mark{Position: event.Position{Origin: dc, Incarnation: incarnation, Revision: revision}, Past: past}
	}
	f := newFederation(t, func(c *Config) {
		if n := c.Datacenter.(fedNode); n.Name() == "dc-b" {
			c.Origins = marked{n, []event.Mark{mark("dc-a", 1, 5, false), mark("dc-b", 2, 6, false), mark("dc-a", 3, 7, true)}}
		}
	}, "dc-a", "dc-b")
	for method, want := range map[string]string{
		callHead: "dc-b/2/6,dc-a/3/7", callVector: "dc-a/1/5,dc-b/2/6,dc-a/3/7",
	} {
		r := f.sites["dc-b"].nodes[0].Serve(testContext(t), "dc-a", replication.Request{Method: method})
		if got := first(r.Header[callPoints]); r.Code != 0 || got != want {
			t.Errorf("%s: %d %s, %q, want %q", method, r.Code, r.Message, got, want)
		}
		if r := f.sites["dc-b"].nodes[1].Serve(testContext(t), "dc-a", replication.Request{Method: method}); r.Code == 0 {
			t.Errorf("%s was answered by a node that does not lead", method)
		}
	}
}
