package homes

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// The model of leases: three acceptors, the homes of three epochs, time in ticks that all clocks agree on (drift
// is in TestLeaseUnderDrift). An epoch is decided once a majority is fenced for it; who learns it when is open.
const (
	leaseTicks = 1
	epochsEver = 3
	absent     = 0xff
)

// slot is a renewal under way between a home and an acceptor; ages are in ticks, saturated.
type slot struct {
	request, reply uint8 // age since it was sent, or absent
	grant          uint8 // age of the newest granted renewal, as the home counts it
}

type leaseNode struct {
	acc     [sites]uint16
	lease   [sites]uint8 // age of the grant at the acceptor, absent for none
	slots   [epochsEver][sites]slot
	sends   [epochsEver]uint8
	decided uint8
	ticks   uint8
}

type leaseStep struct {
	acc    uint16
	kind   Kind
	epoch  uint64
	lapsed uint64
}

type leaseDone struct {
	acc    uint16
	answer Answer
}

type leaseModel struct {
	done    map[leaseStep]leaseDone
	states  []State
	stateID map[string]uint16
	seen    map[leaseNode]bool
	todo    []leaseNode
	leaseWorld
	bad bool
}

// leaseWorld bounds one exploration.
type leaseWorld struct {
	epochs uint8
	sends  [epochsEver]uint8 // renewals by each home
	ticks  uint8
	flaws  flaws
}

func (e *leaseModel) state(s State) uint16 {
	// The number of a grant only has to name it: its age says whether it is the one that lapsed.
	s.Lease.Number = 1
	id, ok := e.stateID[string(s.Encode())]
	if !ok {
		id = uint16(len(e.states))
		e.states, e.stateID[string(s.Encode())] = append(e.states, s), id
	}
	return id
}

var epochValues = func() (all [epochsEver]Value) {
	for i := range all {
		all[i] = buildEpoch(i)
	}
	return all
}()

func epochValue(i int) Value { return epochValues[i] }

func buildEpoch(i int) Value {
	v := Value{}
	for e := 0; e <= i; e++ {
		v = next(v, life(e), 0, 0)
	}
	return v
}

func (e *leaseModel) open(n *leaseNode, home int) bool {
	held := 0
	for _, s := range n.slots[home] {
		if s.grant < leaseTicks {
			held++
		}
	}
	return held >= 2
}

func (e *leaseModel) visit(n leaseNode) {
	if e.seen[n] {
		return
	}
	e.seen[n] = true
	e.todo = append(e.todo, n)
	open := 0
	for h := range epochsEver {
		if e.open(&n, h) {
			open++
		}
	}
	e.bad = e.bad || open > 1
}

// apply remembers what the real acceptor did.
func (e *leaseModel) apply(n *leaseNode, i int, c Command) Answer {
	key := leaseStep{n.acc[i], c.Kind, c.Known.Epoch, c.Lapsed}
	did, ok := e.done[key]
	if !ok {
		s, r := e.states[n.acc[i]].apply(c, func(Life) int64 { return 0 }, e.flaws)
		did = leaseDone{e.state(s), r.Answer}
		e.done[key] = did
	}
	n.acc[i] = did.acc
	return did.answer
}

func (e *leaseModel) expand(n leaseNode) {
	if n.ticks < e.ticks {
		e.tick(n)
	}
	for h := range int(n.decided) {
		// Two acceptors are a majority, and any two homes' share one. A home learns its epoch at once: later
		// is only later.
		e.renewal(n, h, h)
		e.renewal(n, h, (h+1)%sites)
	}
	e.elect(n)
}

func (e *leaseModel) tick(n leaseNode) {
	age := func(a *uint8) {
		if *a < leaseTicks {
			*a++
		}
	}
	n.ticks++
	for i := range sites {
		age(&n.lease[i])
		for h := range epochsEver {
			s := &n.slots[h][i]
			age(&s.request)
			age(&s.reply)
			age(&s.grant)
		}
	}
	e.visit(n)
}

// renewal sends, receives and answers; each may happen any time later, or never.
func (e *leaseModel) renewal(n leaseNode, h, i int) {
	s := n.slots[h][i]
	if s.request == absent && s.reply == absent && n.sends[h] < e.sends[h] {
		m := n
		m.slots[h][i].request = 0
		m.sends[h]++
		e.visit(m)
	}
	if s.request != absent {
		m := n
		c := Command{Kind: Renew, Known: epochValue(h), Duration: leaseTicks}
		if n.lease[i] == leaseTicks {
			c.Lapsed = 1
		}
		m.slots[h][i].request = absent
		if e.apply(&m, i, c) == Granted {
			m.lease[i], m.slots[h][i].reply = 0, s.request
		}
		e.visit(m)
	}
	if s.reply != absent {
		m := n
		age := s.reply
		if e.flaws.has(leaseFromReceipt) {
			age = 0
		}
		m.slots[h][i].reply, m.slots[h][i].grant = absent, min(age, s.grant)
		e.visit(m)
	}
}

// elect decides the next epoch at any moment, without the promises that would keep the home from renewing: the
// leases must do without. Acceptors learn at any moment later.
func (e *leaseModel) elect(n leaseNode) {
	if n.decided < e.epochs {
		m := n
		m.decided++
		e.visit(m)
	}
	latest := epochValue(int(n.decided) - 1)
	for i := range sites {
		if e.states[n.acc[i]].Decided.Epoch < latest.Epoch {
			m := n
			e.apply(&m, i, Command{Kind: Learn, Known: latest})
			e.visit(m)
		}
	}
}

func exploreLeases(w leaseWorld) (states int, overlap bool) {
	e := &leaseModel{done: map[leaseStep]leaseDone{}, stateID: map[string]uint16{}, seen: map[leaseNode]bool{}, leaseWorld: w}
	n := leaseNode{decided: 1}
	for i := range sites {
		n.acc[i], n.lease[i] = e.state(State{Decided: epochValue(0)}), absent
		for h := range epochsEver {
			n.slots[h][i] = slot{absent, absent, absent}
		}
	}
	e.visit(n)
	for i := 0; i < len(e.todo) && !e.bad; i++ {
		e.expand(e.todo[i])
	}
	return len(e.todo), e.bad
}

func TestLeasesNeverOverlap(t *testing.T) {
	worlds := []leaseWorld{
		{epochs: 2, sends: [3]uint8{2, 2}, ticks: 2},
		{epochs: 3, sends: [3]uint8{2, 0, 2}, ticks: 1},
	}
	if os.Getenv("GEOGATE_MODEL_DEEP") != "" {
		worlds = append(worlds,
			leaseWorld{epochs: 2, sends: [3]uint8{3, 2}, ticks: 3},
			leaseWorld{epochs: 3, sends: [3]uint8{2, 1, 2}, ticks: 3})
	}
	for _, w := range worlds {
		n, overlap := exploreLeases(w)
		if overlap {
			t.Fatalf("%+v: two homes hold a lease", w)
		}
		t.Logf("%+v: %d states", w, n)
	}
}

func TestLeaseModelFindsEveryFlaw(t *testing.T) {
	two := leaseWorld{epochs: 2, sends: [3]uint8{2, 2}, ticks: 2}
	three := leaseWorld{epochs: 3, sends: [3]uint8{2, 0, 2}, ticks: 1}
	for _, m := range []struct {
		name  string
		world leaseWorld
		flaws flaws
	}{
		{"the home counts from the receipt of the grant", two, leaseFromReceipt},
		{"a lease is granted over another", two, leaseOverLease},
		{"an acceptor forgets its lease as it learns", three, leaseForgottenOnLearn},
	} {
		t.Run(m.name, func(t *testing.T) {
			m.world.flaws = m.flaws
			n, overlap := exploreLeases(m.world)
			if !overlap {
				t.Fatalf("%d states, no overlap found", n)
			}
			t.Logf("%d states", n)
		})
	}
}

// rate is how fast a clock runs against real time, within the drift.
func rate(r *rand.Rand, ppm int64) float64 {
	switch r.IntN(4) {
	case 0:
		return 1 - float64(ppm)/million
	case 1:
		return 1 + float64(ppm)/million
	}
	return 1 + (2*r.Float64()-1)*float64(ppm)/million
}

// overlaps draws clocks and delays, and says how often the home still served when the acceptor let others in.
func overlaps(r *rand.Rand, holds func(Terms) time.Duration, fromReceipt bool) int {
	bad := 0
	for range 100_000 {
		t := Terms{Duration: time.Duration(1 + r.Int64N(int64(MaxLease))), DriftPPM: r.Int64N(100_001)}
		if r.IntN(4) == 0 {
			t.Duration = time.Duration(1 + r.Int64N(1000))
		}
		there, back := r.Float64()*float64(t.Duration), r.Float64()*float64(t.Duration)
		if r.IntN(3) == 0 {
			there, back = 0, 1
		}
		counted := 0.0 // real time at which the home begins to count; it sends at 0
		if fromReceipt {
			counted = there + back
		}
		stops := counted + float64(holds(t))/rate(r, t.DriftPPM)
		free := there + float64(AcceptorFree(0, t.Duration))/rate(r, t.DriftPPM)
		if stops > free*(1+1e-12) {
			bad++
		}
	}
	return bad
}

func TestLeaseUnderDrift(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	if n := overlaps(r, Terms.HomeHolds, false); n > 0 {
		t.Errorf("%d of 100000 leases were still served when the acceptor was free", n)
	}
	if overlaps(r, func(t Terms) time.Duration { return t.Duration }, false) == 0 {
		t.Error("a home that serves for the whole duration was never caught: the test sees nothing")
	}
	if overlaps(r, Terms.HomeHolds, true) == 0 {
		t.Error("a home that counts from the receipt was never caught: the test sees nothing")
	}
}

func TestTenancy(t *testing.T) {
	c := Config{Self: "a", Voters: threeVoters()}
	terms := Terms{Duration: 10 * time.Second, DriftPPM: 1000}
	l, err := NewTenancy(c, terms)
	if err != nil {
		t.Fatal(err)
	}
	l.Granted("a", 5*time.Second, 6*time.Second)
	if l.Held(5 * time.Second) {
		t.Error("held with one grant of three")
	}
	l.Granted("b", 3*time.Second, 9*time.Second)
	l.Granted("b", 2*time.Second, 9*time.Second) // late
	until, ok := l.Until()
	if want := 3*time.Second + terms.HomeHolds(); !ok || until != want {
		t.Errorf("held until %s, %v; want %s", until, ok, want)
	}
	if !l.Held(until-1) || l.Held(until) {
		t.Error("the end of the lease is not exclusive")
	}
	for _, bad := range []Terms{{}, {Duration: MaxLease + 1}, {Duration: 1, DriftPPM: -1}, {Duration: 1, DriftPPM: 100_001}} {
		if bad.Validate() == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
