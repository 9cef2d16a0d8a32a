package replication

import (
	"testing"

	"geogate/replication/wire"
)

// A peer finds nodes that joined the origin later, and keeps to what its configuration says of those listed there.
func TestEndpointsOfLaterNodes(t *testing.T) {
	listed := []Endpoint{{Node: "n0", URL: "nats://detour:1"}, {Node: "n1", URL: "nats://b:1"}}
	r := &receiver{peer: &Peer{Name: "dc", Endpoints: listed}}
	r.status.nodes = []*wire.Endpoint{{Node: "n0", Url: "nats://own:1"}, {Node: "n9"}, {Node: "n3", Url: "nats://d:1"}}
	for prefer, want := range map[string]string{"n0": "nats://detour:1", "n3": "nats://d:1"} {
		if r.prefer = prefer; r.endpoint().URL != want {
			t.Errorf("redirected to %s it does not go to %s", prefer, want)
		}
	}
	seen := map[Endpoint]bool{}
	for range 3 {
		seen[r.endpoint()] = true
	}
	if len(seen) != 3 || !seen[Endpoint{Node: "n3", URL: "nats://d:1"}] || len(listed) != 2 {
		t.Errorf("in turn it tries %v", seen)
	}
}
