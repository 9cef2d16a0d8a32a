package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"geogate/replication"
	"geogate/replication/event"
	"geogate/replication/policy"
)

// fakePeers is what one datacenter's leader knows of the others. All nodes share it; only the leader answers.
type fakePeers struct {
	data *fakeData

	mu      sync.Mutex
	acked   map[string]int64 // guarded by mu, as all below
	down    map[string]string
	lag     map[string]replication.PeerStatus // what Peers says of the lag; unknown where it is not set
	changed chan struct{}
	waits   int    // calls of Wait that have begun
	given   int    // of these those that were given up
	asking  func() // when set, Notify calls it first
	fence   error

	admitted int // calls of Admit that are not done
	hurries  int // calls of Hurry
}

func newFakePeers(d *fakeData, names ...string) *fakePeers {
	p := &fakePeers{data: d, acked: map[string]int64{}, down: map[string]string{}, lag: map[string]replication.PeerStatus{}, changed: make(chan struct{})}
	for _, n := range names {
		p.acked[n] = 0
	}
	return p
}

func (p *fakePeers) update(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *fakePeers) ack(name string, revision int64) { p.update(func() { p.acked[name] = revision }) }
func (p *fakePeers) fail(name, why string)           { p.update(func() { p.down[name] = why }) }

func (p *fakePeers) restore(name string) { p.update(func() { delete(p.down, name) }) }

// lags sets what is known of a peer's lag.
func (p *fakePeers) lags(name string, age time.Duration, txns, bytes int64) {
	p.update(func() {
		p.lag[name] = replication.PeerStatus{LagSeconds: new(age.Seconds()), LagTxns: &txns, LagBytes: &bytes}
	})
}

// fakeReplication is the view of one node.
type fakeReplication struct {
	*fakePeers
	node fakeNode
}

func (r fakeReplication) Originate() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fence
}

func (r fakeReplication) Holders() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.acked) + 1
}

func (r fakeReplication) Check(p policy.Policy) error {
	if _, leading := r.node.Leading(); !leading {
		return replication.ErrNotLeading
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.Met(len(r.acked)+1, len(r.acked)+1-len(r.down)) {
		return nil
	}
	var why []string
	for n, reason := range r.down {
		why = append(why, n+" is down ("+reason+")")
	}
	slices.Sort(why)
	return fmt.Errorf("%s", strings.Join(why, ", "))
}

func (r fakeReplication) Admit(p policy.Policy) (func(), error) {
	r.update(func() { r.admitted++ })
	return func() { r.update(func() { r.admitted-- }) }, r.Check(p)
}

func (p *fakePeers) hurried() (n int) {
	p.update(func() { n = p.hurries })
	return n
}

func (r fakeReplication) Hurry() { r.update(func() { r.hurries++ }) }

func (r fakeReplication) Wait(ctx context.Context, revision int64, p policy.Policy) ([]string, error) {
	r.update(func() { r.waits++ })
	for {
		turnover := r.node.LeadershipChanged()
		if _, leading := r.node.Leading(); !leading {
			return nil, replication.ErrNotLeading
		}
		r.mu.Lock()
		names := []string{r.data.name}
		for n, acked := range r.acked {
			if acked >= revision {
				names = append(names, n)
			}
		}
		met, changed := p.Met(len(r.acked)+1, len(names)), r.changed
		r.mu.Unlock()
		slices.Sort(names[1:])
		if met {
			return names, nil
		}
		select {
		case <-ctx.Done():
			r.update(func() { r.given++ })
			return names, ctx.Err()
		case <-changed:
		case <-turnover:
		}
	}
}

func (r fakeReplication) Matrix() map[string]event.Vector {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := map[string]event.Vector{r.data.name: {}}
	for n, acked := range r.acked {
		m[n] = event.Vector{r.data.name: acked}
	}
	return m
}

func (r fakeReplication) Peers() []replication.PeerStatus {
	if _, leading := r.node.Leading(); !leading {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []replication.PeerStatus
	for n, acked := range r.acked {
		lag := r.lag[n]
		out = append(out, replication.PeerStatus{
			DC: n, Health: "healthy", Acked: &acked, LagTxns: lag.LagTxns, LagBytes: lag.LagBytes, LagSeconds: lag.LagSeconds,
		})
	}
	slices.SortFunc(out, func(a, b replication.PeerStatus) int { return strings.Compare(a.DC, b.DC) })
	return out
}
