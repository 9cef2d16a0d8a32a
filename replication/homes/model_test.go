package homes

import (
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// The model explores what can happen to one keyspace: every order, loss and repetition of messages, every crash
// of a proposer (what it knows is gone, what it sent is still on its way), a home that writes and counts
// acknowledgements, datacenters that apply. The acceptors and proposers in it are the real ones; a state is
// visited once. A reply is delivered at once or never: a later one could only find a proposer that has gone on.

// world bounds one exploration.
type world struct {
	name    string
	voters  []Voter
	movers  []int // indices of the datacenters that run failovers
	home    bool  // the home runs switchovers to datacenter 1
	writes  uint8
	starts  uint8
	crashes uint8
	stale   bool   // a move may start from a replica that doesn't know what its acceptor promised
	calls   bool   // a reply is only lost when its proposer has gone on, and decisions don't spread: a smaller world
	loss    bool   // only the loss of a write counts as a violation
	amnesia bool   // datacenter 2 loses everything once, and is admitted again
	epochs  uint64 // moves are started in epochs below; 0 means 2
	flaws   flaws
	deep    bool // only with GEOGATE_MODEL_DEEP set: takes up to two minutes
}

const sites = 3

func life(i int) Life { return Life{DC: string(rune('a' + i)), Incarnation: uint64(i + 1)} }

// node is one state of the model; acc, move, back and msgs are numbers of interned values.
type node struct {
	acc     [sites]uint16
	move    [sites]uint16 // 0 for none
	applied [sites]uint8  // of the chain of datacenter 0, the first home
	acks    [sites]uint8  // the highest ack that reached the home
	acked   uint8         // the highest write that the home acknowledged under QUORUM
	starts  uint8
	crashes uint8
	lost    bool      // datacenter 2 has lost everything
	back    uint16    // its readmission; 0 for none
	msgs    [6]uint64 // ever sent
	votes   uint32    // number of: by proposal, who ever voted for it
}

// action leads from one node to the next; it is only kept to tell the way to a violation.
type action struct {
	kind string
	arg  uint16
}

type message struct {
	to      int
	command Command
	vote    int // number of the proposal, of an Accept
}

type effect struct {
	acc   uint16
	reply int32
}

// explorer interns values and remembers what the real code does with them.
type explorer struct {
	t        testing.TB
	w        world
	cfg      [sites]Config
	states   []State
	stateID  map[string]uint16
	moves    []*Move
	moveID   map[string]uint16
	backs    []*Readmission
	backID   map[string]uint16
	messages []message
	msgID    map[string]uint16
	replies  []Reply
	votes    []Proposal
	ballots  []string // byte i: who voted for proposal i
	ballotID map[string]uint32
	due      map[uint16][]uint16
	effects  map[[3]uint16]effect
	steps    map[[3]int32]uint16

	seen    map[node]struct{}
	nodes   []node
	parents []int32
	actions []action
	now     int32 // the node that is expanded
	bad     string
}

func newExplorer(t testing.TB, w world) *explorer {
	e := &explorer{t: t, w: w, stateID: map[string]uint16{}, moveID: map[string]uint16{"": 0}, moves: []*Move{nil},
		backID: map[string]uint16{"": 0}, backs: []*Readmission{nil},
		msgID: map[string]uint16{}, due: map[uint16][]uint16{}, effects: map[[3]uint16]effect{}, steps: map[[3]int32]uint16{},
		seen: map[node]struct{}{}, ballots: []string{""}, ballotID: map[string]uint32{"": 0}}
	for i := range e.cfg {
		e.cfg[i] = Config{Self: life(i).DC, Voters: w.voters}
		if err := e.cfg[i].validate(); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func (e *explorer) state(s State) uint16 {
	key := string(s.Encode())
	id, ok := e.stateID[key]
	if !ok {
		id = uint16(len(e.states))
		e.states, e.stateID[key] = append(e.states, s), id
	}
	return id
}

func (e *explorer) mover(m *Move) uint16 {
	key := fmt.Sprintf("%#v", *m)
	id, ok := e.moveID[key]
	if !ok {
		id = uint16(len(e.moves))
		e.moves, e.moveID[key] = append(e.moves, m), id
	}
	return id
}

func (m *Move) clone() *Move {
	c := *m
	c.promises, c.voted, c.learned = slices.Clone(m.promises), slices.Clone(m.voted), slices.Clone(m.learned)
	return &c
}

func (e *explorer) message(to int, c Command) uint16 {
	key := string(rune('0'+to)) + string(c.Encode())
	id, ok := e.msgID[key]
	if !ok {
		id = uint16(len(e.messages))
		m := message{to: to, command: c, vote: -1}
		if c.Kind == Accept {
			m.vote = e.proposal(Proposal{c.Ballot, c.Value})
		}
		e.messages, e.msgID[key] = append(e.messages, m), id
		if int(id) >= 64*len(node{}.msgs) {
			e.t.Fatalf("%s: more than %d messages", e.w.name, id)
		}
	}
	return id
}

func (e *explorer) proposal(p Proposal) int {
	i := slices.IndexFunc(e.votes, func(q Proposal) bool { return q.Ballot == p.Ballot && q.Value.Equal(p.Value) })
	if i < 0 {
		i = len(e.votes)
		e.votes = append(e.votes, p)
	}
	return i
}

func (e *explorer) vote(before uint32, proposal, voter int) uint32 {
	b := []byte(e.ballots[before])
	for len(b) <= proposal {
		b = append(b, 0)
	}
	b[proposal] |= 1 << voter
	id, ok := e.ballotID[string(b)]
	if !ok {
		id = uint32(len(e.ballots))
		e.ballots, e.ballotID[string(b)] = append(e.ballots, string(b)), id
	}
	return id
}

func (e *explorer) marks(n *node, i int) Marks {
	if e.w.voters[i].Witness {
		return nil
	}
	applied := int64(n.applied[i])
	return func(l Life) int64 {
		if l == life(0) {
			return applied
		}
		return 0
	}
}

// send puts what a move has to send on its way.
func (e *explorer) send(n *node, i int) {
	id := n.move[i]
	if id == 0 {
		return
	}
	ids, ok := e.due[id]
	if !ok {
		for _, s := range e.moves[id].Due() {
			if e.w.calls && s.Command.Kind == Learn {
				continue
			}
			ids = append(ids, e.message(int(s.To[0]-'a'), s.Command))
		}
		e.due[id] = ids
	}
	for _, m := range ids {
		n.msgs[m/64] |= 1 << (m % 64)
	}
}

// run explores breadth first and returns the number of states, and the first violation with the way to it.
func (e *explorer) run() (int, string) {
	first := Value{Epoch: 1, Home: life(0)}
	var n node
	for i := range n.acc {
		n.acc[i] = e.state(State{Decided: first})
	}
	e.now = -1
	e.visit(n, action{"start", 0})
	for i := 0; i < len(e.nodes) && e.bad == ""; i++ {
		e.now = int32(i)
		e.expand(e.nodes[i])
	}
	return len(e.nodes), e.bad
}

func (e *explorer) visit(n node, a action) {
	e.acknowledge(&n)
	if _, ok := e.seen[n]; ok || e.bad != "" {
		return
	}
	e.seen[n] = struct{}{}
	e.nodes, e.parents, e.actions = append(e.nodes, n), append(e.parents, e.now), append(e.actions, a)
	if v := e.violation(&n); v != "" {
		var way []string
		for i := int32(len(e.nodes) - 1); i >= 0; i = e.parents[i] {
			way = append(way, e.describe(e.actions[i]))
		}
		slices.Reverse(way)
		e.bad = v + "\n  " + strings.Join(way, "\n  ")
	}
}

func (e *explorer) describe(a action) string {
	if a.kind != "deliver" && a.kind != "deliver, reply lost" {
		return fmt.Sprintf("%s %c", a.kind, 'a'+a.arg)
	}
	m := e.messages[a.arg]
	return fmt.Sprintf("%s to %c: %s %s of epoch %d: %s", a.kind, 'a'+m.to, m.command.Kind, m.command.Ballot, m.command.Known.Epoch, m.command.Value)
}

// acknowledge lets every ack that may be sent arrive; one that is late could have come now.
func (e *explorer) acknowledge(n *node) {
	for i := range n.acks {
		if e.w.voters[i].Witness {
			continue
		}
		ack := int64(n.applied[i])
		if limit, ok := e.states[n.acc[i]].ackLimit(life(0), e.states[n.acc[0]].Decided.Epoch, e.w.flaws); ok {
			ack = min(ack, limit)
		}
		n.acks[i] = max(n.acks[i], uint8(ack))
	}
	if e.states[n.acc[0]].Decided.Epoch > 1 {
		return // the home knows that it is none: what waits is answered as set aside
	}
	for r := n.acked + 1; r <= n.applied[0]; r++ {
		have := 0
		for i := range n.acks {
			if n.acks[i] >= r {
				have++
			}
		}
		if have > e.cfg[0].data()/2 {
			n.acked = r
		}
	}
}

func (e *explorer) expand(n node) {
	if home := e.states[n.acc[0]]; home.Decided.Epoch == 1 && home.Writable(life(0)) && n.applied[0] < e.w.writes {
		m := n
		m.applied[0]++
		e.visit(m, action{"write at", 0})
	}
	for i := 1; i < sites; i++ {
		if n.applied[i] == n.applied[0] || e.w.voters[i].Witness {
			continue
		}
		w := Write{Epoch: 1, Home: life(0), Revision: int64(n.applied[i]) + 1}
		if e.states[n.acc[i]].judge(w, e.marks(&n, i), e.w.flaws) != Hold {
			m := n
			m.applied[i]++
			e.visit(m, action{"apply or set aside at", uint16(i)})
		}
	}
	for word, set := range n.msgs {
		for ; set != 0; set &= set - 1 {
			e.deliver(n, uint16(word*64+bits.TrailingZeros64(set)))
		}
	}
	for i := range sites {
		e.drive(n, i)
	}
	if e.w.amnesia {
		e.loseAndReturn(n)
	}
}

func (e *explorer) deliver(n node, id uint16) {
	msg := &e.messages[id]
	key := [3]uint16{n.acc[msg.to], id, uint16(n.applied[msg.to])}
	f, ok := e.effects[key]
	if !ok {
		s, r := e.command(&n, msg.to, msg.command)
		r.Keyspace, r.Epoch, r.Ballot = msg.command.Keyspace, msg.command.Known.Epoch, msg.command.Ballot
		e.replies = append(e.replies, r)
		f = effect{e.state(s), int32(len(e.replies) - 1)}
		e.effects[key] = f
	}
	n.acc[msg.to] = f.acc
	r := &e.replies[f.reply]
	if r.Answer == Accepted {
		n.votes = e.vote(n.votes, msg.vote, msg.to)
	}
	if msg.command.Kind == Learn {
		e.visit(n, action{"deliver, reply lost", id})
		return // the answer only ends the repetition
	}
	i := int(msg.command.Ballot.DC[0] - 'a')
	if !e.w.calls || n.move[i] == 0 || e.moves[n.move[i]].ballot != r.Ballot {
		e.visit(n, action{"deliver, reply lost", id})
	}
	if n.move[i] == 0 {
		return
	}
	step := [3]int32{int32(n.move[i]), int32(msg.to), f.reply}
	next, ok := e.steps[step]
	if !ok {
		m := e.moves[n.move[i]].clone()
		m.Step(life(msg.to).DC, *r)
		next = e.mover(m)
		e.steps[step] = next
	}
	if next != n.move[i] {
		n.move[i] = next
		e.send(&n, i)
		e.visit(n, action{"deliver", id})
	}
}

// command has an acceptor apply a command, as the one who runs it does.
func (e *explorer) command(n *node, i int, c Command) (State, Reply) {
	s := e.states[n.acc[i]]
	if s.Amnesic(Life{life(i).DC, 9}, c) && !e.w.flaws.has(votesAfterLoss) {
		s, _ = s.apply(Command{Kind: Bar, Keyspace: c.Keyspace}, nil, e.w.flaws)
	}
	return s.apply(c, e.marks(n, i), e.w.flaws)
}

// loseAndReturn has datacenter 2 lose everything, acks and messages that it has sent apart, and come back.
func (e *explorer) loseAndReturn(n node) {
	const c = sites - 1
	if !n.lost {
		n.acc[c], n.applied[c], n.move[c], n.lost = e.state(State{}), 0, 0, true
		e.visit(n, action{"everything is lost at", c})
		return
	}
	s := e.states[n.acc[c]]
	if home := e.states[n.acc[0]].Decided; s.Decided.Epoch == 0 {
		told, _ := e.command(&n, c, Command{Kind: Learn, Known: home})
		n.acc[c] = e.state(told)
		e.visit(n, action{"a decision is told to", c})
		return
	}
	if s.Barred <= s.Decided.Epoch {
		return
	}
	if n.back == 0 || !e.backs[n.back].Known().Equal(s.Decided) {
		r, err := NewReadmission(e.cfg[c], Life{life(c).DC, 9}, s.Decided)
		if err != nil {
			e.t.Fatal(err)
		}
		r.flaws = e.w.flaws
		n.back = e.readmission(r)
		e.visit(n, action{"ask about another decision at", c})
		return
	}
	r := e.backs[n.back]
	for _, dc := range r.Due() {
		i := int(dc[0] - 'a')
		m := n
		next, reply := e.command(&n, i, Command{Kind: Learn, Known: r.Known()})
		reply.Epoch, reply.AtHome = r.Known().Epoch, next.Decided.Home == life(i)
		m.acc[i] = e.state(next)
		if reply.Answer == Behind { // the registrar has the own acceptor learn it
			own, _ := e.command(&n, c, Command{Kind: Learn, Known: reply.Decided})
			m.acc[c] = e.state(own)
		}
		again := *r
		again.said = slices.Clone(r.said)
		again.Step(dc, reply)
		m.back = e.readmission(&again)
		e.visit(m, action{"c asks", uint16(i)})
	}
	if upTo := r.UpTo(e.marks(&n, c)); upTo < s.Barred {
		own, _ := e.command(&n, c, Command{Kind: Admit, Known: s.Decided, UpTo: upTo})
		n.acc[c] = e.state(own)
		e.visit(n, action{fmt.Sprintf("above epoch %d is admitted", upTo), c})
	}
}

func (e *explorer) readmission(r *Readmission) uint16 {
	key := fmt.Sprintf("%#v", *r)
	id, ok := e.backID[key]
	if !ok {
		id = uint16(len(e.backs))
		e.backs, e.backID[key] = append(e.backs, r), id
	}
	return id
}

// drive lets a datacenter start, crash, abort, or go on after fetching.
func (e *explorer) drive(n node, i int) {
	id := n.move[i]
	if id == 0 || e.moves[id].phase == Lost || e.moves[id].phase == Aborted {
		if n.starts < e.w.starts {
			e.start(n, i)
		}
		return
	}
	m := e.moves[id]
	if n.crashes < e.w.crashes {
		c := n
		c.move[i], c.crashes = 0, n.crashes+1
		e.visit(c, action{"crash of the move at", uint16(i)})
	}
	if target := int(m.target.DC[0] - 'a'); m.Needs() != nil && (Value{Past: m.Needs()}).Covered(e.marks(&n, target)) {
		c := m.clone()
		c.Fetched()
		e.become(n, i, c, "fetched at")
	}
	if m.phase == Stopping || m.phase == CatchingUp {
		c := m.clone()
		if err := c.Abort(); err != nil {
			e.t.Fatal(err)
		}
		e.become(n, i, c, "abort at")
	}
}

func (e *explorer) become(n node, i int, m *Move, what string) {
	n.move[i] = e.mover(m)
	e.send(&n, i)
	e.visit(n, action{what, uint16(i)})
}

func (e *explorer) start(n node, i int) {
	n.starts++
	own := e.states[n.acc[i]]
	if own.Decided.Epoch >= max(e.w.epochs, 2) || own.Decided.Epoch == 0 {
		return
	}
	if e.w.home && i == 0 && own.Decided.Home == life(0) {
		m, err := NewSwitchover(e.cfg[0], Plan{State: own, Target: life(1)}, life(0))
		if err != nil {
			e.t.Fatal(err)
		}
		m.flaws = e.w.flaws
		e.become(n, i, m, "switchover at")
	}
	if !slices.Contains(e.w.movers, i) {
		return
	}
	from := []State{own}
	if e.w.stale {
		from = append(from, State{Decided: own.Decided})
	}
	for _, s := range from {
		m, err := NewFailover(e.cfg[i], Plan{State: s, Target: life(i)})
		if err != nil {
			e.t.Fatal(err)
		}
		m.flaws = e.w.flaws
		e.become(n, i, m, "failover at")
	}
}

// violation states what may not happen.
func (e *explorer) violation(n *node) string {
	majority := e.cfg[0].Majority()
	var chosen [4]*Value // by epoch
	for i, who := range []byte(e.ballots[n.votes]) {
		if bits.OnesCount8(who) < majority {
			continue
		}
		v := &e.votes[i].Value
		if c := chosen[v.Epoch]; c != nil && !c.Equal(*v) {
			return fmt.Sprintf("two values decided in epoch %d: %s; %s", v.Epoch, *c, *v)
		}
		chosen[v.Epoch] = v
		if v.Epoch == 2 && v.Past[0].Cut < int64(n.acked) {
			return fmt.Sprintf("write %d was acknowledged by a majority, decided is: %s", n.acked, *v)
		}
	}
	fenced, frozen := 0, int64(0)
	for i, id := range n.acc {
		s := &e.states[id]
		if s.Decided.Epoch > 1 && (chosen[s.Decided.Epoch] == nil || !chosen[s.Decided.Epoch].Equal(s.Decided)) {
			return fmt.Sprintf("%c learnt what was not decided: %s", 'a'+i, s.Decided)
		}
		if s.Decided.Epoch == 1 && s.Fenced() {
			fenced++
			frozen = max(frozen, s.Frozen)
		}
	}
	if fenced >= majority && !e.w.loss && int64(n.acked) > frozen {
		return fmt.Sprintf("a majority is fenced at %d, and %d was acknowledged by a majority", frozen, n.acked)
	}
	return ""
}

func threeVoters() []Voter { return []Voter{{DC: "a"}, {DC: "b"}, {DC: "c"}} }

func withWitness() []Voter { return []Voter{{DC: "a"}, {DC: "b"}, {DC: "c", Witness: true}} }

func worlds() []world {
	three, witness := threeVoters(), withWitness()
	return []world{
		{name: "two proposers", voters: three, movers: []int{1, 2}, writes: 1, starts: 2, calls: true},
		{name: "crash and resume", voters: three, movers: []int{1}, writes: 1, starts: 2, crashes: 1, stale: true, calls: true},
		{name: "home reclaims", voters: three, movers: []int{0, 1}, writes: 1, starts: 2, calls: true},
		{name: "witness", voters: witness, movers: []int{0, 1}, writes: 1, starts: 2, calls: true},
		{name: "switchover", voters: three, home: true, writes: 2, starts: 2, crashes: 1},
		{name: "switchover and failover", voters: witness, movers: []int{1}, home: true, writes: 1, starts: 2, calls: true},
		{name: "two epochs", voters: three, movers: []int{1}, writes: 1, starts: 2, epochs: 3},
		{name: "lost and back", voters: three, movers: []int{1}, writes: 2, starts: 2, calls: true, amnesia: true},
		{name: "lost and back, with ballots of its own", voters: three, movers: []int{2}, writes: 1, starts: 2, calls: true, amnesia: true},
		{name: "lost and back, switchover", voters: three, home: true, writes: 1, starts: 2, crashes: 1, calls: true, amnesia: true},
		{name: "witness lost and back", voters: witness, movers: []int{0, 1}, writes: 1, starts: 2, calls: true, amnesia: true},
		{name: "crash and resume, every loss", voters: three, movers: []int{1}, writes: 1, starts: 2, crashes: 1, stale: true, deep: true},
		{name: "switchover and failover, every loss", voters: witness, movers: []int{1}, home: true, writes: 1, starts: 2, deep: true},
		{name: "two proposers, every loss", voters: three, movers: []int{1, 2}, writes: 1, starts: 2, deep: true},
		{name: "home reclaims, every loss", voters: three, movers: []int{0, 1}, writes: 1, starts: 2, deep: true},
		{name: "witness, every loss", voters: witness, movers: []int{0, 1}, writes: 1, starts: 2, deep: true},
		{name: "two proposers, two epochs", voters: three, movers: []int{1, 2}, writes: 1, starts: 2, epochs: 3, stale: true, deep: true},
		{name: "witness, two epochs", voters: witness, movers: []int{0, 1}, writes: 2, starts: 2, epochs: 3, stale: true, deep: true},
		{name: "three ballots", voters: three, movers: []int{1, 2}, writes: 1, starts: 3, calls: true, deep: true},
		{name: "lost and back, every loss", voters: three, movers: []int{1}, writes: 1, starts: 2, crashes: 1, stale: true, deep: true, amnesia: true},
		{name: "lost and back, two proposers", voters: three, movers: []int{1, 2}, writes: 1, starts: 2, calls: true, deep: true, amnesia: true},
		{name: "lost and back, home reclaims", voters: three, movers: []int{0, 1}, writes: 1, starts: 2, calls: true, deep: true, amnesia: true},
		{name: "lost and back, two epochs", voters: three, movers: []int{1}, writes: 1, starts: 2, epochs: 3, deep: true, amnesia: true},
		{name: "switchover and two failovers", voters: three, movers: []int{1, 2}, home: true, writes: 1, starts: 3, calls: true, deep: true},
	}
}

func TestModel(t *testing.T) {
	for _, w := range worlds() {
		t.Run(w.name, func(t *testing.T) {
			if w.deep && os.Getenv("GEOGATE_MODEL_DEEP") == "" {
				t.Skip("SKIPPED: all of these take 7 minutes and 1.8 GB; set GEOGATE_MODEL_DEEP=1 to run it")
			}
			begin := time.Now()
			n, bad := newExplorer(t, w).run()
			if bad != "" {
				t.Fatal(bad)
			}
			t.Logf("%d states in %s", n, time.Since(begin).Round(time.Millisecond))
		})
	}
}

// Each protection is taken out, in a world in which that is seen.
func TestModelFindsEveryFlaw(t *testing.T) {
	three := threeVoters()
	duel := world{voters: three, movers: []int{1, 2}, writes: 1, starts: 2, calls: true}
	learning := world{voters: three, movers: []int{1}, writes: 1, starts: 1}
	again := world{voters: three, movers: []int{1}, writes: 1, starts: 2, crashes: 1, stale: true}
	switchover := world{voters: three, home: true, writes: 1, starts: 1}
	lost := world{voters: three, movers: []int{1}, writes: 1, starts: 2, calls: true, amnesia: true}
	ballots := world{voters: three, movers: []int{1, 2}, writes: 1, starts: 3, calls: true, loss: true}
	for _, m := range []struct {
		name  string
		world world
		flaws flaws
		want  string
	}{
		{"a promise forgets the vote", duel, voteForgotten, "two values decided"},
		{"an acceptor forgets its promise", duel, promiseForgotten, "two values decided"},
		{"a promise doesn't fence", duel, fenceForgotten, "acknowledged by a majority"},
		{"the cut is that of one promise", duel, cutFromOne, "acknowledged by a majority"},
		{"what was set aside is acknowledged", learning, ackedSetAside, "acknowledged by a majority"},
		{"a ballot is used twice", again, ballotUsedTwice, "was not decided"},
		{"a switchover doesn't wait for the drain", switchover, conceded, "acknowledged by a majority"},
		{"acknowledged while fenced", learning, ackedBeforeDecided, "a majority is fenced"},
		{"acknowledged before it is decided", ballots, ackedBeforeDecided, "decided is"},
		{"who lost its past votes at once", lost, votesAfterLoss, "acknowledged by a majority"},
		{"who lost its past acknowledges", lost, ackedAfterLoss, "acknowledged by a majority"},
		{"who lost its past votes before it has caught up", lost, admittedBehind, "acknowledged by a majority"},
		{"who lost its past votes while a move is open", lost, openMoveOverlooked, "acknowledged by a majority"},
	} {
		t.Run(m.name, func(t *testing.T) {
			begin := time.Now()
			m.world.name, m.world.flaws = m.name, m.flaws
			n, bad := newExplorer(t, m.world).run()
			if !strings.Contains(bad, m.want) {
				t.Fatalf("%d states: want a violation with %q, found %q", n, m.want, bad)
			}
			t.Logf("%d states in %s: %s", n, time.Since(begin).Round(time.Millisecond), bad)
		})
	}
}
