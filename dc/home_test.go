package dc

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"geogate/replication/event"
	"geogate/replication/homes"
)

const locks = "/locks/"

// command applies a command to the register of a keyspace.
func (r *replica) register(c homes.Command) homes.Reply {
	r.t.Helper()
	p, err := r.queue.add(item{kind: kindHome, payload: c.Encode()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.commitQueued()
	res := <-p.done
	if res.err != nil {
		r.t.Fatal(res.err)
	}
	return *res.reply
}

// at commits a write to a single-writer keyspace.
func (r *replica) at(keyspace string, k kind, req proto.Message) result {
	r.t.Helper()
	payload, err := proto.Marshal(req)
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := r.queue.add(item{kind: k, payload: payload, keyspace: keyspaceOf(WithKeyspace(r.t.Context(), keyspace))})
	if err != nil {
		r.t.Fatal(err)
	}
	r.commitQueued()
	return <-p.done
}

func (r *replica) lock(key, value string) Commit {
	r.t.Helper()
	res := r.at(locks, kindPut, putRequest(locks+key, value))
	if res.err != nil {
		r.t.Fatalf("put %s at %s: %v", key, r.cfg.Name, res.err)
	}
	return res.commit
}

func (r *replica) unlock(key string) {
	r.t.Helper()
	if res := r.at(locks, kindDelete, &pb.DeleteRangeRequest{Key: []byte(locks + key)}); res.err != nil {
		r.t.Fatalf("delete %s at %s: %v", key, r.cfg.Name, res.err)
	}
}

func (r *replica) epoch(keyspace string) uint64 {
	x, _ := r.Register(keyspace)
	return x.State.Decided.Epoch
}

func threeDCs(t testing.TB) map[string]*replica {
	return map[string]*replica{"a": newReplica(t, "a", "b", "c"), "b": newReplica(t, "b", "a", "c"), "c": newReplica(t, "c", "a", "b")}
}

// failover runs a move to target among the datacenters that are reached; the others of all hear nothing.
func failover(t testing.TB, target *replica, reached ...*replica) homes.Value {
	t.Helper()
	cfg := homes.Config{Self: target.cfg.Name, Voters: []homes.Voter{{DC: "a"}, {DC: "b"}, {DC: "c"}}, MaxPast: 16}
	at := func(name string) *replica {
		for _, r := range reached {
			if r.cfg.Name == name {
				return r
			}
		}
		return nil
	}
	plan := homes.Plan{Keyspace: locks, Target: target.Life()}
	for range 50 {
		x, _ := target.Register(locks)
		plan.State = x.State
		m, err := homes.NewFailover(cfg, plan)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			for _, s := range m.Due() {
				if r := at(s.To); r != nil {
					m.Step(s.To, r.register(s.Command))
				}
			}
			for _, need := range m.Needs() {
				for _, src := range reached {
					if src != target && target.AppliedOf(need.Home) < need.Cut {
						relay(t, src, target, need.Home.DC)
					}
				}
			}
			if m.Phase() == homes.Fetching {
				m.Fetched()
			}
		}
		if v, ok := m.Decided(); ok && v.Home == target.Life() {
			return v
		}
		plan.Rival = m.Rival()
	}
	t.Fatalf("no decision for %s", target.cfg.Name)
	return homes.Value{}
}

// relay gives dst what src has of an origin's chain, as far as dst takes it. It says why it ended.
func relay(t testing.TB, src, dst *replica, origin string) error {
	t.Helper()
	for {
		frames, err := src.Frames(origin, dst.Position(origin).Revision, 1)
		if err != nil || len(frames) == 0 {
			return err
		}
		if err := dst.receive(frames[0])[0]; err != nil {
			return err
		}
	}
}

// learn tells a datacenter of a decision.
func (r *replica) learn(v homes.Value) {
	r.t.Helper()
	if reply := r.register(homes.Command{Kind: homes.Learn, Keyspace: locks, Known: v}); reply.Answer != homes.Learned && reply.Answer != homes.Behind {
		r.t.Fatalf("%s: %+v", r.cfg.Name, reply)
	}
	for len(r.Overrunning()) > 0 {
		r.goOn()
	}
}

// goOn proposes a step of taking back.
func (r *replica) goOn() {
	r.t.Helper()
	p, err := r.queue.add(item{kind: kindHome})
	if err != nil {
		r.t.Fatal(err)
	}
	r.commitQueued()
	if res := <-p.done; res.err != nil {
		r.t.Fatal(res.err)
	}
}

// spread brings everything everywhere.
func spread(t testing.TB, dcs map[string]*replica) {
	t.Helper()
	for range len(dcs) + 1 {
		for _, src := range dcs {
			for _, dst := range dcs {
				if src != dst {
					_ = relay(t, src, dst, src.cfg.Name)
				}
			}
		}
	}
}

func (r *replica) asides() string {
	r.t.Helper()
	ws, err := r.Aside(locks, 0, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, w := range ws {
		s := fmt.Sprintf("%s %s>%s", strings.TrimPrefix(string(w.Key), locks), w.Old, w.New)
		if w.Deleted {
			s += "x"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func TestOnlyTheHomeWrites(t *testing.T) {
	dcs := threeDCs(t)
	a, b := dcs["a"], dcs["b"]
	var refusal *NotHomeError
	if res := a.at(locks, kindPut, putRequest(locks+"k", "1")); !errors.As(res.err, &refusal) || !errors.Is(res.err, ErrNotHome) || refusal.Keyspace != locks {
		t.Fatalf("a write before there is a home: %v", res.err)
	}
	v := failover(t, a, a, b, dcs["c"])
	c := a.lock("k", "1")
	if c.Keyspace != locks || c.Epoch != 1 {
		t.Errorf("committed %+v", c)
	}
	revision := b.Revision()
	if res := b.at(locks, kindPut, putRequest(locks+"k", "2")); !errors.As(res.err, &refusal) || refusal.State.Decided.Home != a.Life() || b.Revision() != revision {
		t.Fatalf("a write elsewhere: %v", res.err)
	}
	if res := b.do(kindPut, putRequest("other", "1")); res.err != nil {
		t.Errorf("a write to another keyspace: %v", res.err)
	}
	spread(t, dcs)
	sameData(t, a, b, dcs["c"])
	if got, _ := b.get(locks + "k"); got != "1" {
		t.Errorf("b has %q", got)
	}
	// While it is drained or fenced nobody writes.
	a.register(homes.Command{Kind: homes.Drain, Keyspace: locks, Known: v})
	if res := a.at(locks, kindPut, putRequest(locks+"k", "3")); !errors.Is(res.err, ErrNotHome) {
		t.Errorf("while drained: %v", res.err)
	}
	a.register(homes.Command{Kind: homes.Resume, Keyspace: locks, Known: v})
	a.lock("k", "4")
	a.register(homes.Command{Kind: homes.Prepare, Keyspace: locks, Known: v, Ballot: homes.Ballot{Round: 9, DC: "b"}})
	if res := a.at(locks, kindPut, putRequest(locks+"k", "5")); !errors.Is(res.err, ErrNotHome) {
		t.Errorf("while fenced: %v", res.err)
	}
}

func TestRegistersSurviveARestart(t *testing.T) {
	r := newReplica(t, "a", "b")
	home := r.Life()
	v := homes.Value{Epoch: 3, Home: home, Past: []homes.Tenure{{Epoch: 2, Home: homes.Life{DC: "b", Incarnation: 7}, Cut: 40}}}
	r.register(homes.Command{Kind: homes.Renew, Keyspace: locks, Known: v, Duration: 4e9})
	before, ok := r.Register(locks)
	if !ok || before.Granted.IsZero() || !before.State.Decided.Equal(v) {
		t.Fatalf("%+v", before)
	}
	if res := r.at(locks, kindPut, putRequest(locks+"k", "1")); !errors.Is(res.err, ErrNotHome) {
		t.Errorf("a write without all of the past: %v", res.err)
	}
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	again := openReplica(t, r.cfg)
	after, ok := again.Register(locks)
	if !ok || string(after.State.Encode()) != string(before.State.Encode()) || !after.Granted.After(before.Granted) {
		t.Errorf("before %+v, after %+v", before, after)
	}
	sameTable(t, again)
}

// A retry of a request that was applied is answered as before, although the home has moved on.
func TestRetryIsAnsweredWhereTheHomeWas(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	failover(t, a, a, b, c)
	put := func(r *replica) result {
		payload, _ := proto.Marshal(putRequest(locks+"k", "1"))
		it, err := item{kind: kindPut, payload: payload, keyspace: []byte(locks)}.withID("order-1")
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.queue.add(it)
		if err != nil {
			t.Fatal(err)
		}
		r.commitQueued()
		return <-p.done
	}
	first := put(a)
	if first.err != nil {
		t.Fatal(first.err)
	}
	spread(t, dcs)
	v := failover(t, b, b, c)
	a.learn(v)
	for _, r := range []*replica{a, b, c} {
		if res := put(r); res.err != nil || !res.commit.Repeated || res.commit.Revision != first.commit.Revision {
			t.Errorf("at %s: %+v, %v", r.cfg.Name, res.commit, res.err)
		}
	}
}

func TestFencedFramesWaitAndOthersPass(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	v := failover(t, a, a, b, c)
	a.lock("k", "1")
	ship(t, a, b)
	b.register(homes.Command{Kind: homes.Prepare, Keyspace: locks, Known: v, Ballot: homes.Ballot{Round: 9, DC: "b"}})
	a.put("free", "1")
	ship(t, a, b)
	a.lock("k", "2")
	a.put("behind", "1")
	at := b.Position("a").Revision
	errs := b.receive(a.next(b)...)
	if !errors.Is(errs[0], event.ErrHeld) || errors.Is(errs[0], event.ErrGap) {
		t.Fatalf("a frame of a fenced keyspace: %v", errs[0])
	}
	if got := b.Position("a").Revision; got != at {
		t.Errorf("the position moved to %d", got)
	}
	if _, ok := b.get("behind"); ok {
		t.Error("a frame behind the one that waits was applied")
	}
	// An epoch that is not known here waits, too.
	c2 := newReplica(t, "c", "a", "b")
	if err := relay(t, a, c2, "a"); !errors.Is(err, event.ErrHeld) {
		t.Errorf("an epoch that is not known: %v", err)
	}
	b.learn(failover(t, a, a, b, c)) // the home itself ends the move and loses nothing
	spread(t, dcs)
	sameData(t, a, b, c)
	if got, _ := b.get(locks + "k"); got != "2" {
		t.Errorf("b has %q", got)
	}
}

func drain(v homes.Value) homes.Command {
	return homes.Command{Kind: homes.Drain, Keyspace: locks, Known: v}
}
