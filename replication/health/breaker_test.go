package health

import (
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	type look struct {
		peer   State
		acked  int64
		behind bool
		want   BreakerState
	}
	for name, looks := range map[string][]look{
		"a peer of which nothing is known": {{Suspected, 0, true, Closed}, {Healthy, 0, true, Closed}, {Suspected, 0, true, Closed}},
		"down and back with progress": {{Down, 5, true, Open}, {Recovering, 5, true, HalfOpen}, {Recovering, 6, true, HalfOpen},
			{Healthy, 6, true, Closed}},
		"heartbeats are no progress":      {{Down, 5, true, Open}, {Recovering, 5, true, HalfOpen}, {Healthy, 5, true, HalfOpen}, {Healthy, 6, true, Closed}},
		"nothing to confirm":              {{Down, 5, true, Open}, {Recovering, 5, true, HalfOpen}, {Healthy, 5, false, Closed}},
		"stuck again":                     {{Down, 5, true, Open}, {Recovering, 5, true, HalfOpen}, {Suspected, 5, true, HalfOpen}, {Down, 5, true, Open}},
		"down again after some progress":  {{Down, 5, true, Open}, {Recovering, 6, true, HalfOpen}, {Down, 7, true, Open}, {Recovering, 7, true, HalfOpen}, {Healthy, 7, true, HalfOpen}},
		"straight from down to suspected": {{Down, 5, true, Open}, {Suspected, 5, true, HalfOpen}},
	} {
		at := time.Unix(1_700_000_000, 0)
		b := NewBreaker(at)
		for i, l := range looks {
			at = at.Add(time.Second)
			was := b.State
			var why string
			b, why = b.Step(Machine{State: l.peer, Reason: "r"}, Observation{At: at, Acked: l.acked, Behind: l.behind})
			if b.State != l.want || (why != "") != (was != l.want) || (why != "" && b.Since != at) {
				t.Errorf("%s, look %d: %s since %s (%q), want %s", name, i, b.State, b.Since, why, l.want)
			}
		}
	}
}
