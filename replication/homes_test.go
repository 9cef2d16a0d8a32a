package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"geogate/replication/homes"
	"geogate/replication/policy"
	"geogate/replication/registrar"
)

const locks = "/locks/"

// acceptors is a DC's register of homes beside its model.
type acceptors struct {
	m *model

	mu      sync.Mutex
	state   homes.State // guarded by mu, as below
	granted time.Time
}

func (a *acceptors) RegisterCommand(_ context.Context, c homes.Command) (homes.Reply, error) {
	a.mu.Lock()
	next, reply := a.state.Apply(c, a.AppliedOf)
	if next.Lease != a.state.Lease {
		a.granted = time.Now()
	}
	a.state = next
	a.mu.Unlock()
	a.m.mu.Lock()
	close(a.m.changed)
	a.m.changed = make(chan struct{})
	a.m.mu.Unlock()
	return reply, nil
}

func (a *acceptors) Register(keyspace string) (homes.Register, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return homes.Register{Keyspace: keyspace, State: a.state, Granted: a.granted}, keyspace == locks
}

func (a *acceptors) Registers() []homes.Register {
	r, _ := a.Register(locks)
	return []homes.Register{r}
}

func (a *acceptors) Life() homes.Life {
	return homes.Life{DC: a.m.name, Incarnation: a.m.Incarnation()}
}

func (a *acceptors) AppliedOf(l homes.Life) int64 {
	if p := a.m.Position(l.DC); p.Incarnation == l.Incarnation {
		return p.Revision
	}
	return 0
}

func (a *acceptors) Overrunning() []string { return nil }

// newHomes is a cluster with one single-writer keyspace whose first home is a.
func newHomes(t *testing.T, tune func(*Config), names ...string) (*cluster, map[string]*acceptors) {
	all := map[string]*acceptors{}
	c := prepareCluster(t, nil, names...)
	for _, dc := range names {
		all[dc] = &acceptors{m: c.dcs[dc]}
	}
	c.tune = func(cfg *Config) {
		cfg.Homes = all[cfg.Local]
		cfg.Keyspaces = []registrar.Keyspace{{Prefix: locks, Home: "a"}}
		cfg.HomeLease = homes.Terms{Duration: 2 * time.Second, DriftPPM: 1000}
		if tune != nil {
			tune(cfg)
		}
	}
	for _, dc := range names {
		c.start(dc, "n1")
		c.nodes[dc]["n1"].lead(1)
	}
	return c, all
}

// open waits until a DC is the home and takes writes, and everyone who leads has heard of it and has a vote: who hears late of the
// first home has none for a while.
func (c *cluster) open(dc string, within time.Duration) {
	c.t.Helper()
	eventually(c.t, within, dc+" is an open home", func() bool {
		for other := range c.dcs {
			r, err := c.engine(other).Homes()
			if err != nil {
				continue
			}
			if s := r.Status(locks); s.Epoch == 0 || s.Barred {
				return false
			}
		}
		return c.engine(dc).Standing(locks).Here
	})
}

func TestSwitchoverBetweenDCs(t *testing.T) {
	c, _ := newHomes(t, nil, "a", "b", "c")
	c.open("a", 10*time.Second)
	for i := range 20 {
		c.dcs["a"].write(t, []byte{byte(i)})
	}
	r, err := c.engine("a").Homes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Switch(locks, "b", 0); err != nil {
		t.Fatal(err)
	}
	c.open("b", 10*time.Second)
	if s := c.engine("a").Standing(locks); s.Here || s.Reading || s.Home.DC != "b" {
		t.Errorf("the old home: %+v", s)
	}
	if at := c.dcs["b"].Position("a").Revision; at < 20 {
		t.Errorf("b opened with %d of 20 writes", at)
	}
	eventually(t, 5*time.Second, "c hears of it", func() bool { return c.engine("c").Standing(locks).Epoch == 2 })
	if s := c.engine("c").Standing("/none/"); s.Here || s.Why == "" {
		t.Errorf("a keyspace that is not there: %+v", s)
	}
}

// TestFailoverRelays loses the home: the next one has nothing of its last writes, and gets from the third what a
// majority had.
func TestFailoverRelays(t *testing.T) {
	c, all := newHomes(t, nil, "a", "b", "c")
	c.open("a", 10*time.Second)
	unblock := c.dcs["b"].block()
	for i := range 20 {
		c.dcs["a"].write(t, []byte{byte(i)})
	}
	if _, err := c.engine("a").Wait(within(t, 10*time.Second), 20, policy.Quorum); err != nil {
		t.Fatal(err)
	}
	life := all["a"].Life()
	c.nodes["a"]["n1"].stop()
	unblock()
	r, err := c.engine("b").Homes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.FailOver(locks, 0); err != nil {
		t.Fatal(err)
	}
	c.open("b", 20*time.Second)
	if at := all["b"].AppliedOf(life); at != 20 {
		t.Errorf("b opened with %d of the 20 writes that were acknowledged under QUORUM", at)
	}
}

// TestFencedDCAcknowledgesNothing promises a ballot of c at b: what b applies of a's chain after that must not be counted
// by a, and is after the decision.
func TestFencedDCAcknowledgesNothing(t *testing.T) {
	c, all := newHomes(t, func(cfg *Config) { cfg.ReclaimAfter = time.Hour }, "a", "b", "c")
	c.open("a", 10*time.Second)
	rev := c.dcs["a"].write(t, []byte("before"))
	if _, err := c.engine("a").Wait(within(t, 10*time.Second), rev, policy.All); err != nil {
		t.Fatal(err)
	}
	known, _ := all["a"].Register(locks)
	promise := homes.Command{Kind: homes.Prepare, Keyspace: locks, Known: known.State.Decided, Ballot: homes.Ballot{Round: 7, DC: "c"}}
	if r, err := all["b"].RegisterCommand(t.Context(), promise); err != nil || r.Answer != homes.Promised {
		t.Fatalf("%+v, %v", r, err)
	}
	rev = c.dcs["a"].write(t, []byte("after"))
	got, err := c.engine("a").Wait(within(t, time.Second), rev, policy.All)
	if !errors.Is(err, ErrNotMet) || fmt.Sprint(got) != "[a c]" {
		t.Fatalf("b has promised, and acknowledged to: %v, %v", got, err)
	}
	if at := c.dcs["b"].Position("a").Revision; at != rev {
		t.Fatalf("b has applied only %d of %d: the test shows nothing", at, rev)
	}
	if s := c.peer("a", "b"); s.Acked == nil || *s.Acked != rev-1 || s.Health != "healthy" {
		t.Errorf("a on b: %+v", s)
	}
	next := known.State.Decided
	next.Past = append(next.Past, homes.Tenure{Epoch: next.Epoch, Home: next.Home, Cut: rev})
	next.Epoch++
	if _, err := all["b"].RegisterCommand(t.Context(), homes.Command{Kind: homes.Learn, Keyspace: locks, Known: next}); err != nil {
		t.Fatal(err)
	}
	if got, err := c.engine("a").Wait(within(t, 10*time.Second), rev, policy.All); err != nil {
		t.Fatalf("a decision counts it: %v, %v", got, err)
	}
	if r, _ := all["a"].Register(locks); r.State.Decided.Epoch != next.Epoch {
		t.Errorf("a counted an ack of b without learning the decision that b tells of")
	}
}

// TestSetAsideWaitsEnd decides a home elsewhere with a cut below a write that waits.
func TestSetAsideWaitsEnd(t *testing.T) {
	c, all := newHomes(t, func(cfg *Config) { cfg.ReclaimAfter = time.Hour }, "a", "b", "c")
	c.open("a", 10*time.Second)
	counted := c.dcs["a"].write(t, []byte("counted"))
	if _, err := c.engine("a").Wait(within(t, 10*time.Second), counted, policy.All); err != nil {
		t.Fatal(err)
	}
	known, _ := all["a"].Register(locks)
	v := known.State.Decided
	for _, dc := range []string{"b", "c"} {
		promise := homes.Command{Kind: homes.Prepare, Keyspace: locks, Known: v, Ballot: homes.Ballot{Round: 7, DC: "a"}}
		if _, err := all[dc].RegisterCommand(t.Context(), promise); err != nil {
			t.Fatal(err)
		}
	}
	lost := c.dcs["a"].write(t, []byte("lost"))
	ctx := WithTenure(within(t, 20*time.Second), locks, v.Epoch)
	waited := make(chan error, 1)
	go func() {
		_, err := c.engine("a").Wait(ctx, lost, policy.Quorum)
		waited <- err
	}()
	eventually(t, 5*time.Second, "it waits", func() bool { return c.engine("a").current.Load().tracker.Waiting() == 1 })
	next := homes.Value{Epoch: v.Epoch + 1, Home: all["b"].Life(), Past: []homes.Tenure{{Epoch: v.Epoch, Home: v.Home, Cut: counted}}}
	for _, dc := range []string{"b", "c"} {
		if _, err := all[dc].RegisterCommand(t.Context(), homes.Command{Kind: homes.Learn, Keyspace: locks, Known: next}); err != nil {
			t.Fatal(err)
		}
	}
	err := <-waited
	var aside *SetAsideError
	if !errors.Is(err, ErrSetAside) || !errors.As(err, &aside) || aside.Cut != counted || aside.Decided.Home.DC != "b" {
		t.Fatalf("a write beyond the cut: %v", err)
	}
	if _, err := c.engine("a").Wait(WithTenure(within(t, 10*time.Second), locks, v.Epoch), counted, policy.Quorum); err != nil {
		t.Errorf("a write below the cut: %v", err)
	}
	if _, err := c.engine("a").Wait(WithTenure(within(t, 10*time.Second), locks, v.Epoch), lost, policy.Async); !errors.Is(err, ErrSetAside) {
		t.Errorf("a wait that begins afterwards: %v", err)
	}
	if _, err := c.engine("a").Wait(within(t, 10*time.Second), lost, policy.All); err != nil {
		t.Errorf("a write of another keyspace at the same revision: %v", err)
	}
}
