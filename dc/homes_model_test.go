package dc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication/event"
	"geogate/replication/homes"
)

// world is three datacenters, the moves between them, and what their clients were told. Messages are commands that go
// to any of them in any order, or never.
type world struct {
	t     *testing.T
	rnd   *rand.Rand
	dcs   []*replica
	moves []*move
	wrote []lockWrite
	homes map[uint64]homes.Life // who wrote in an epoch
	aside map[*replica]int      // writes that had been set aside by the last look
	bases map[[2]string]int64   // since of the last snapshot, by sender and receiver
	n     int

	merging bool
	jumped  map[*replica]bool // took a snapshot: what it lacks of what doesn't count may not have come as frames
	taken   struct{ whole, since int }
}

// move is a proposer with the messages that it has sent.
type move struct {
	m    *homes.Move
	self int
}

// lockWrite is one that its home has committed.
type lockWrite struct {
	key, value string
	deleted    bool
	commit     Commit
	home       homes.Life
	sure       bool // a majority had acknowledged it while the home counted acks
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), homes: map[uint64]homes.Life{}, aside: map[*replica]int{}, bases: map[[2]string]int64{}, jumped: map[*replica]bool{}}
	names := []string{"a", "b", "c"}
	for i, name := range names {
		var peers []string
		for _, p := range names {
			if p != name {
				peers = append(peers, p)
			}
		}
		r := newReplica(t, name, peers...)
		r.cfg.step = 1 + i
		r.now = r.now.Add(time.Duration(i) * time.Hour) // clocks are far apart
		w.dcs = append(w.dcs, r)
	}
	return w
}

func (w *world) pick() *replica { return w.dcs[w.rnd.IntN(len(w.dcs))] }

func (w *world) step() {
	r := w.pick()
	switch n := w.rnd.IntN(103); {
	case n >= 100:
		w.snapshot(w.pick(), r)
	case n < 30:
		w.write(r)
	case n < 34:
		r.put(fmt.Sprint("free", w.rnd.IntN(5)), w.value())
	case n < 64:
		src, origin := w.pick(), w.pick()
		if src != r && origin != r {
			w.deliver(src, r, origin.cfg.Name, 1+w.rnd.IntN(4))
		}
	case n < 67:
		w.begin(r)
	case n < 90:
		w.message()
	case n < 93:
		w.gossip(r, w.pick())
	case n < 96:
		w.confirm(r)
	case n < 98:
		if rev := r.Revision(); rev > 1 {
			r.do(kindCompact, &pb.CompactionRequest{Revision: rev})
			if err := r.store.Flush(); err != nil {
				w.t.Fatal(err)
			}
		}
	default:
		if len(r.Overrunning()) > 0 {
			r.goOn()
		}
	}
}

func (w *world) value() string {
	w.n++
	return strconv.Itoa(w.n)
}

// write is a client's, at any datacenter; only the home may take it.
func (w *world) write(r *replica) {
	x, _ := r.Register(locks)
	key := strconv.Itoa(w.rnd.IntN(6))
	c := lockWrite{key: key, value: w.value(), deleted: w.rnd.IntN(4) == 0, home: r.Life()}
	k, req := kindPut, &pb.PutRequest{Key: []byte(locks + key), Value: []byte(c.value)}
	res := result{}
	if c.deleted {
		res = r.at(locks, kindDelete, &pb.DeleteRangeRequest{Key: []byte(locks + key)})
	} else {
		res = r.at(locks, k, req)
	}
	if res.err != nil {
		if !errors.Is(res.err, ErrNotHome) {
			w.t.Fatal(res.err)
		}
		return
	}
	if x.State.Decided.Home != r.Life() {
		w.t.Fatalf("%s took a write, the home is %s", r.cfg.Name, x.State.Decided)
	}
	if res.commit.Revision == 0 {
		return
	}
	c.commit = res.commit
	if was, ok := w.homes[c.commit.Epoch]; ok && was != r.Life() {
		w.t.Fatalf("two homes write in epoch %d: %s and %s", c.commit.Epoch, was, r.Life())
	}
	w.homes[c.commit.Epoch] = r.Life()
	w.wrote = append(w.wrote, c)
}

// deliver gives dst frames of an origin that src has.
func (w *world) deliver(src, dst *replica, origin string, most int) {
	if src.cfg.Name == origin || src.Position(origin).Revision > dst.Position(origin).Revision {
		for range most {
			frames, err := src.Frames(origin, dst.Position(origin).Revision, 1)
			if err != nil || len(frames) == 0 {
				break
			}
			if err := dst.receive(frames[0])[0]; err != nil {
				if !errors.Is(err, event.ErrHeld) {
					w.t.Fatalf("%s to %s: %v", origin, dst.cfg.Name, err)
				}
				break
			}
		}
	}
	w.ack(dst)
}

// ack tells a home how far a datacenter is, by the rules for what may leave it. The home's clients are answered when
// a majority is there, unless it has learnt that its epoch is over.
func (w *world) ack(dst *replica) {
	for _, home := range w.dcs {
		if home == dst {
			continue
		}
		at := dst.AppliedOf(home.Life())
		x, known := dst.Register(locks)
		h, _ := home.Register(locks)
		if known {
			if limit, limited := x.State.AckLimit(home.Life(), h.State.Decided.Epoch); limited {
				at = min(at, limit)
			}
		}
		if x.State.Decided.Epoch > h.State.Decided.Epoch {
			continue // the home learns that first
		}
		for i := range w.wrote {
			c := &w.wrote[i]
			if c.home == home.Life() && c.commit.Revision <= at && !w.lostAt(home, c) {
				c.sure = true // two of three: the home and this one
			}
		}
	}
}

// lostAt says whether the home knows that a write of it doesn't count.
func (w *world) lostAt(home *replica, c *lockWrite) bool {
	h, _ := home.Register(locks)
	for _, t := range h.State.Decided.Past {
		if t.Epoch == c.commit.Epoch && t.Home == c.home {
			return c.commit.Revision > t.Cut
		}
	}
	return h.State.Decided.Epoch != c.commit.Epoch || h.State.Decided.Home != c.home
}

func (w *world) begin(r *replica) {
	x, _ := r.Register(locks)
	cfg := homes.Config{Self: r.cfg.Name, Voters: []homes.Voter{{DC: "a"}, {DC: "b"}, {DC: "c"}}, MaxPast: 100}
	plan := homes.Plan{Keyspace: locks, State: x.State, Target: r.Life(), Rival: homes.Ballot{Round: uint64(w.n)}}
	var m *homes.Move
	var err error
	if x.State.Decided.Home == r.Life() && w.rnd.IntN(2) == 0 {
		plan.Target = w.pick().Life()
		m, err = homes.NewSwitchover(cfg, plan, r.Life())
	} else {
		m, err = homes.NewFailover(cfg, plan)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	for i, d := range w.dcs {
		if d == r {
			w.moves = append(w.moves, &move{m: m, self: i})
		}
	}
	if len(w.moves) > 4 {
		w.moves = w.moves[1:] // its proposer is gone
	}
}

// message delivers one of the commands that a move has due, and its answer, or only the command.
func (w *world) message() {
	if len(w.moves) == 0 {
		return
	}
	mv := w.moves[w.rnd.IntN(len(w.moves))]
	due := mv.m.Due()
	if needs := mv.m.Needs(); needs != nil {
		target := w.dcs[mv.self]
		if mv.m.Phase() == homes.CatchingUp {
			for _, r := range w.dcs {
				if v := needs[len(needs)-1]; r.Life() != v.Home && r.AppliedOf(v.Home) >= v.Cut {
					target = r // any that has all of it: the real one is asked by name
				}
			}
		}
		all := true
		for _, n := range needs {
			all = all && target.AppliedOf(n.Home) >= n.Cut
		}
		if all && mv.m.Phase() == homes.Fetching {
			mv.m.Fetched()
		} else if all && mv.m.Phase() == homes.CatchingUp {
			mv.m.Fetched()
		}
		return
	}
	if len(due) == 0 {
		return
	}
	s := due[w.rnd.IntN(len(due))]
	for _, r := range w.dcs {
		if r.cfg.Name == s.To {
			reply := r.register(s.Command)
			if reply.Answer == homes.Diverged || reply.Answer == homes.Invalid {
				w.t.Fatalf("%s answers %+v to %+v", s.To, reply, s.Command)
			}
			if w.rnd.IntN(5) > 0 {
				mv.m.Step(s.To, reply)
			}
		}
	}
}

// gossip lets one learn what another has decided.
// snapshot has dst merge a snapshot of src, while everything else goes on. It leaves out what the one before had.
func (w *world) snapshot(src, dst *replica) {
	pair := [2]string{src.cfg.Name, dst.cfg.Name}
	if src == dst || w.merging {
		return
	}
	w.merging = true
	defer func() { w.merging = false }()
	marks, next, high, err := src.SnapshotMarks()
	if err != nil {
		w.t.Fatal(err)
	}
	since := w.bases[pair]
	var after []byte
	for done := false; !done; {
		var chunk []byte
		if chunk, after, done, err = src.Export(w.t.Context(), after, since, 1); errors.Is(err, event.ErrHeld) {
			return
		} else if err != nil {
			w.t.Fatal(err)
		}
		dst.propose(kindMerge, chunk)
		now, _, _, err := src.SnapshotMarks()
		if err != nil {
			w.t.Fatal(err)
		}
		marks, _ = event.Lower(marks, now)
		for range w.rnd.IntN(6) {
			w.step()
		}
	}
	dst.adoptFrom(src, marks, high)
	w.jumped[dst] = true
	w.bases[pair] = next
	if since < 0 {
		w.taken.since++
	} else {
		w.taken.whole++
	}
}

func (w *world) gossip(from, to *replica) {
	if x, ok := from.Register(locks); ok && x.State.Decided.Epoch > 0 && from != to {
		to.register(homes.Command{Kind: homes.Learn, Keyspace: locks, Known: x.State.Decided})
	}
}

// confirm tells a datacenter what all have, lowered as acks are.
func (w *world) confirm(r *replica) {
	m := matrixEntry{}
	for _, d := range w.dcs {
		row := event.Vector{}
		for _, o := range w.dcs {
			at := d.AppliedOf(o.Life())
			if x, ok := d.Register(locks); ok && o != d {
				h, _ := o.Register(locks)
				if limit, limited := x.State.AckLimit(o.Life(), h.State.Decided.Epoch); limited {
					at = min(at, limit)
				}
			}
			row[o.cfg.Name] = at
		}
		m[d.cfg.Name] = row
	}
	if _, err := r.queue.add(item{kind: kindConfirm, payload: mustMarshal(m)}); err != nil {
		w.t.Fatal(err)
	}
	r.commitQueued()
}

// settle ends the open moves, lets everyone learn and receive everything, and compares.
func (w *world) settle() {
	t := w.t
	dcs := map[string]*replica{}
	for _, r := range w.dcs {
		dcs[r.cfg.Name] = r
	}
	for range 3 { // what was decided and not told is told
		for _, from := range w.dcs {
			for _, to := range w.dcs {
				w.gossip(from, to)
			}
		}
	}
	spread(t, dcs) // also while something is taken back
	for _, r := range w.dcs {
		for len(r.Overrunning()) > 0 {
			r.goOn()
		}
	}
	spread(t, dcs)
	target := w.pick()
	v := failover(t, target, w.dcs...)
	for _, r := range w.dcs {
		r.learn(v)
	}
	spread(t, dcs)
	sameData(t, w.dcs...)
	w.judge(v)
	w.wrote = nil // what counts of them is in v's past or before
	w.moves = nil
	clear(w.jumped)
}

// judge compares the data, and what is set aside, with the writes that clients were told of.
func (w *world) judge(v homes.Value) {
	t := w.t
	want := map[string]string{}
	lost := map[int64]lockWrite{}
	for _, c := range w.ordered() {
		counts := false
		for _, p := range v.Past {
			counts = counts || p.Epoch == c.commit.Epoch && p.Home == c.home && c.commit.Revision <= p.Cut
		}
		if !counts {
			if c.sure {
				t.Fatalf("%s = %s of epoch %d, revision %d of %s, was acknowledged by a majority, and doesn't count: %s, %+v",
					c.key, c.value, c.commit.Epoch, c.commit.Revision, c.home, v, v.Past)
			}
			lost[c.commit.Revision<<8|int64(c.home.DC[0])] = c
			continue
		}
		want[c.key] = c.value
		if c.deleted {
			want[c.key] = ""
		}
	}
	for key, value := range want {
		for _, r := range w.dcs {
			if got, _ := r.get(locks + key); got != value {
				t.Fatalf("%s has %s = %q, want %q", r.cfg.Name, key, got, value)
			}
		}
	}
	for _, r := range w.dcs {
		aside, err := r.Aside(locks, 0, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		found := map[int64]bool{}
		for _, a := range aside {
			id := a.Revision<<8 | int64(a.Origin.DC[0])
			c, ok := lost[id]
			if found[id] {
				t.Fatalf("%s has set aside revision %d of %s twice", r.cfg.Name, a.Revision, a.Origin)
			}
			if found[id] = true; !ok {
				t.Fatalf("%s has set aside what counts: %+v", r.cfg.Name, a)
			}
			if string(a.Key) != locks+c.key || a.Deleted != c.deleted || !c.deleted && string(a.New) != c.value {
				t.Fatalf("%s has set aside %+v, written was %+v", r.cfg.Name, a, c)
			}
		}
		for id, c := range lost {
			if !found[id] && (!w.jumped[r] || c.home == r.Life()) {
				t.Fatalf("%s has not set aside %+v", r.cfg.Name, c)
			}
		}
		if n := decodeLast(r); n != w.aside[r]+len(aside) {
			t.Fatalf("%s has set aside %d writes since the last look, %d are listed: some counted after all", r.cfg.Name, n-w.aside[r], len(aside))
		}
		w.aside[r] += len(aside)
		var ids []uint64
		for _, a := range aside {
			ids = append(ids, a.ID)
		}
		if _, err := r.queue.add(item{kind: kindHome, note: mustMarshal(homeNote{Keyspace: locks, Discard: ids})}); err != nil {
			t.Fatal(err)
		}
		r.commitQueued()
	}
}

// ordered are the writes by epoch and revision: their order of effect.
func (w *world) ordered() []lockWrite {
	out := append([]lockWrite(nil), w.wrote...)
	for i := range out {
		for j := i; j > 0 && (out[j].commit.Epoch < out[j-1].commit.Epoch ||
			out[j].commit.Epoch == out[j-1].commit.Epoch && out[j].commit.Revision < out[j-1].commit.Revision); j-- {
			out[j], out[j-1] = out[j-1], out[j]
		}
	}
	return out
}

// TestHomesInRandomHistories: whatever the order of writes, frames, moves and decisions, no write that a majority has
// acknowledged is lost, nobody but the home of an epoch writes in it, datacenters that have applied and learnt the same
// hold the same, and what doesn't count is set aside, once and completely.
func TestHomesInRandomHistories(t *testing.T) {
	worlds, steps := 60, 400
	if os.Getenv("GEOGATE_MODEL_DEEP") != "" {
		worlds = 3000
	}
	seed := rand.Uint64()
	if s := os.Getenv("GEOGATE_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
		worlds = 1
	}
	moved, lost, whole, since := 0, 0, 0, 0
	for i := range worlds {
		seed := seed + uint64(i)
		w := newWorld(t, seed)
		ok := t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			w.t = t
			for _, r := range w.dcs {
				r.t = t
			}
			for range 3 {
				for range steps / 3 {
					w.step()
				}
				w.settle()
			}
			for _, r := range w.dcs {
				sameTable(t, r)
			}
		})
		if !ok {
			t.Fatalf("GEOGATE_SEED=%d", seed)
		}
		whole, since = whole+w.taken.whole, since+w.taken.since
		moved += int(w.dcs[0].epoch(locks))
		last := decodeLast(w.dcs[0])
		lost += last
		for _, r := range w.dcs {
			_ = r.store.Close() // not to hold all of them until the end
		}
	}
	t.Logf("%d moves, %d writes set aside at a, %d whole snapshots, %d of what was new", moved, lost, whole, since)
	if moved < worlds || (lost == 0 || since == 0) && worlds > 10 {
		t.Errorf("%d moves, %d writes set aside, %d snapshots of what was new: too few to mean anything", moved, lost, since)
	}
}

// decodeLast is how many writes were ever set aside.
func decodeLast(r *replica) int {
	n, _ := decodeUint64(metaAside, r.store.Meta(metaAside))
	return int(n)
}
