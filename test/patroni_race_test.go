package test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"geogate/test/cluster"
)

const (
	raceTTL  = 4 * time.Second
	raceWait = 150 * time.Millisecond // Patroni's loop_wait
	raceKey  = "/service/batman/leader"
)

// reign is a time in which a member took itself for the leader: from the answer that made it one until its lease
// could have ended, counted from when the newest renewal was sent.
type reign struct {
	member      string
	begin, ends time.Time
}

// reigns collects those of all members; guarded by mu.
type reigns struct {
	mu  sync.Mutex
	all []reign
}

// hold records that a member leads until then; it goes on with the reign that the member is in.
func (r *reigns) hold(current **reign, member string, now, ends time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if *current != nil && now.Before((*current).ends) {
		(*current).ends = ends
		return
	}
	r.all = append(r.all, reign{member, now, ends})
	*current = &r.all[len(r.all)-1]
	if cap(r.all) == len(r.all) { // the pointers that members hold must stay good
		panic("more reigns than the test has room for")
	}
}

// candidate is the part of Patroni that keeps or takes the leader key, at every beat.
type candidate struct {
	name  string
	p     *patroniClient
	all   *reigns
	lease string
	now   *reign
}

func (m *candidate) run(ctx context.Context) {
	beat := time.NewTicker(raceWait)
	defer beat.Stop()
	for ctx.Err() == nil {
		m.beat(ctx)
		select {
		case <-beat.C:
		case <-ctx.Done():
		}
	}
}

// beat leaves what fails to the next beat, as Patroni does.
func (m *candidate) beat(ctx context.Context) {
	sent := time.Now()
	if m.lease != "" {
		ttl, err := m.p.keepAlive(ctx, m.lease)
		if err != nil {
			return
		}
		if ttl == 0 {
			m.lease = ""
		}
	}
	if m.lease == "" {
		sent = time.Now()
		var err error
		if m.lease, err = m.p.grant(ctx, int(raceTTL.Seconds())); err != nil {
			m.lease = ""
			return
		}
	}
	leader, err := m.p.get(ctx, raceKey) // serializable: it may be an old one
	switch {
	case err != nil:
		return
	case leader != nil && leader.value == m.name && leader.lease == m.lease:
	case leader != nil:
		return
	default:
		if won, err := m.p.create(ctx, raceKey, m.name, m.lease); err != nil || !won {
			return
		}
	}
	if now := time.Now(); now.Before(sent.Add(raceTTL)) {
		m.all.hold(&m.now, m.name, now, sent.Add(raceTTL))
	}
}

// TestPatroniLeaderRace lets members race for Patroni's leader key while leaders of both kinds are killed: the
// members' and the datacenter's. There are never two leaders, neither in the history of the key nor at a time.
func TestPatroniLeaderRace(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:1], Nodes: 3})
	nodes := c.Nodes(allDCs[0])
	all := &reigns{all: make([]reign, 0, 1000)}
	stop := map[string]func(){}
	for i := range 4 {
		// Each begins with another node.
		mine := []*cluster.Process{nodes[i%3], nodes[(i+1)%3], nodes[(i+2)%3]}
		m := &candidate{name: fmt.Sprintf("pg%d", i), p: newPatroniClient(t, mine...), all: all}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.run(ctx)
		}()
		stop[m.name] = func() { cancel(); <-done }
	}
	t.Cleanup(func() {
		for _, end := range stop {
			end()
		}
	})
	observer := newPatroniClient(t, nodes...)
	leader := func(not string) (now stored) {
		c.Eventually(30*time.Second, "a leader other than "+not, func() string {
			kv, err := observer.get(t.Context(), raceKey)
			if err != nil || kv == nil || kv.value == not {
				return fmt.Sprint(kv, err)
			}
			now = *kv
			return ""
		})
		return now
	}

	first := leader("")
	// The datacenter's leader dies: the members' leader stays, by the same lease.
	killed := c.Leader(allDCs[0])
	killed.Kill()
	c.Leader(allDCs[0])
	if _, err := observer.call(t.Context(), "/v3/kv/put", fields{"key": encode64("/service/batman/status"), "value": "MQ=="}); err != nil {
		t.Fatal(err)
	}
	if now := leader(""); now != first {
		t.Errorf("after a new leader of the datacenter %+v leads, before it %+v did", now, first)
	}
	killed.Start()

	// The members' leader dies: its key goes with its lease, and another member takes it.
	stop[first.value]()
	second := leader(first.value)

	// Both at once.
	c.Leader(allDCs[0]).Kill()
	stop[second.value]()
	third := leader(second.value)
	t.Logf("leaders: %s, %s, %s", first.value, second.value, third.value)

	if _, err := observer.call(t.Context(), "/v3/kv/put", fields{"key": encode64("/service/batman/end")}); err != nil {
		t.Fatal(err)
	}
	checkHistory(t, observer, third)
	// The last one shows in the datacenter before its member hears that it has won.
	c.Eventually(10*time.Second, "three reigns", func() string {
		all.mu.Lock()
		defer all.mu.Unlock()
		if len(all.all) < 3 {
			return fmt.Sprintf("only %d", len(all.all))
		}
		return ""
	})
	checkReigns(t, all)
}

// checkHistory goes through everything that ever happened to the leader key: between two leaders it was deleted.
func checkHistory(t *testing.T, p *patroniClient, last stored) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var holder *stored
	var said []string
	err := p.watch(ctx, "/service/batman/", 1, func(kind string, kv stored) bool {
		if kv.key != raceKey {
			return kv.key != "/service/batman/end"
		}
		said = append(said, fmt.Sprintf("%d %s %s", kv.mod, kind, kv.value))
		switch {
		case kind == "DELETE":
			holder = nil
		case holder != nil:
			t.Errorf("%s leads, and %s takes the key over: %v", holder.value, kv.value, said)
		default:
			holder = &kv
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if holder == nil || holder.value != last.value || len(said) < 5 {
		t.Errorf("history %v ends with %+v, want %+v", said, holder, last)
	}
}

// checkReigns sees that no two members took themselves for the leader at a time.
func checkReigns(t *testing.T, r *reigns) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, a := range r.all {
		for _, b := range r.all[:i] {
			if a.member != b.member && a.begin.Before(b.ends) && b.begin.Before(a.ends) {
				t.Errorf("%s led from %s to %s, %s from %s to %s", a.member, a.begin, a.ends, b.member, b.begin, b.ends)
			}
		}
	}
}
