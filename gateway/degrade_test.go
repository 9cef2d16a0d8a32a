package gateway

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"geogate/dc"
	"geogate/replication"
	"geogate/replication/policy"
)

func TestSpell(t *testing.T) {
	limits := Degrade{MaxTime: time.Minute, MaxBytes: 100}.over(defaultDegrade)
	start := time.Unix(1_700_000_000, 0)
	type step struct {
		at    time.Duration
		write int64 // bytes of a write that can't be met; 0: an observation
		back  bool
		want  string // of a write: taken, began or spent; of an observation: left or stays
	}
	for name, steps := range map[string][]step{
		"none to leave":   {{0, 0, true, "stays"}},
		"bytes":           {{0, 60, false, "began"}, {1, 40, false, "taken"}, {2, 1, false, "spent"}},
		"too large":       {{0, 101, false, "spent"}},
		"time":            {{0, 1, false, "began"}, {time.Minute - 1, 1, false, "taken"}, {time.Minute, 1, false, "spent"}},
		"left, and anew":  {{0, 100, false, "began"}, {1e9, 0, true, "stays"}, {6e9 - 1, 0, true, "stays"}, {6e9, 0, true, "left"}, {7e9, 100, false, "began"}},
		"a break":         {{0, 1, false, "began"}, {1e9, 0, true, "stays"}, {4e9, 0, false, "stays"}, {5e9, 0, true, "stays"}, {9e9, 0, true, "stays"}, {10e9, 0, true, "left"}},
		"spent until end": {{0, 100, false, "began"}, {1, 9, false, "spent"}, {1e9, 0, true, "stays"}, {2e9, 1, false, "spent"}, {6e9, 0, true, "left"}},
	} {
		var sp spell
		for i, s := range steps {
			got := "stays"
			if at := start.Add(s.at); s.write == 0 {
				if sp.observe(limits, at, s.back) {
					got = "left"
				}
			} else {
				ok, began, _ := sp.take(limits, at, policy.Quorum, s.write)
				got = map[bool]string{true: "taken", false: "spent"}[ok]
				if ok && began {
					got = "began"
				}
			}
			if got != s.want {
				t.Errorf("%s, step %d: %s, want %s", name, i, got, s.want)
			}
		}
	}
}

func TestSpellHolds(t *testing.T) {
	var sp spell
	if sp.holds(policy.All) {
		t.Error("holds before anything began")
	}
	sp.take(defaultDegrade, time.Unix(9, 0), policy.All, 1)
	if sp.holds(policy.Quorum) || !sp.holds(policy.All) {
		t.Error("ALL can't be met, QUORUM can")
	}
	if _, _, first := sp.take(defaultDegrade, time.Unix(9, 0), policy.Quorum, 1<<40); !first || sp.holds(policy.All) {
		t.Error("what is used up must hold nothing")
	}
	if sp.low != policy.Quorum || sp.high != policy.All {
		t.Errorf("from %s to %s", sp.low, sp.high)
	}
}

func TestCaughtUp(t *testing.T) {
	for _, c := range []struct {
		policy policy.Policy
		peers  []replication.PeerStatus
		want   bool
	}{
		{policy.Any, []replication.PeerStatus{lagging(9, 0, 0), lagging(0.5, 0, 0)}, true},
		{policy.All, []replication.PeerStatus{lagging(9, 0, 0), lagging(0.5, 0, 0)}, false},
		{policy.All, []replication.PeerStatus{lagging(1, 0, 0), lagging(0, 0, 0)}, true},
		{policy.Quorum, []replication.PeerStatus{{}, {}}, false},
	} {
		if got := defaultDegrade.caughtUp(c.peers, c.policy); got != c.want {
			t.Errorf("%s with %+v: %v", c.policy, c.peers, got)
		}
	}
}

func TestDegradationOfSeveralKeyspaces(t *testing.T) {
	ks := testKeyspaces(t, Keyspace{Policy: new(policy.All), OnUnreachable: UnreachableDegrade},
		Keyspace{Prefix: "a/", Degrade: Degrade{To: new(policy.Any)}}, Keyspace{Prefix: "b/", OnUnreachable: UnreachableWait},
		Keyspace{Prefix: "c/", OnUnreachable: UnreachableFail})
	r := ks.ofRange([]byte("a"), []byte("b"))
	if len(r.degrade.of) != 2 || r.degrade.to() != policy.Any || r.unreachable != UnreachableDegrade {
		t.Errorf("two that degrade: %+v", r)
	}
	if r := ks.ofRange([]byte("a"), []byte("c")); r.unreachable != UnreachableWait {
		t.Errorf("with one that waits: %s", r.unreachable)
	}
	if r := ks.ofRange([]byte("a"), []byte("d")); r.unreachable != UnreachableFail {
		t.Errorf("with one that fails: %s", r.unreachable)
	}
}

func TestDegradedWrite(t *testing.T) {
	s := newSite(t, 2, func(c *Config) {
		c.Keyspaces = []Keyspace{{Policy: new(policy.Quorum), OnUnreachable: UnreachableDegrade,
			Degrade: Degrade{MaxBytes: 40, RecoverAfter: 300 * time.Millisecond}}}
	})
	s.peers.ack("dc-b", 99)
	s.peers.lags("dc-b", 0, 0, 0)
	s.peers.lags("dc-c", 0, 0, 0)
	kv := s.kv(1) // follows: the trailers come through
	if md, err := putFor(testContext(t), kv, "a"); err != nil || value(md, trailerDegraded) != "[]" {
		t.Fatal(md, err)
	}
	s.peers.fail("dc-b", "gone")
	s.peers.fail("dc-c", "gone")
	s.peers.lags("dc-b", time.Minute, 9, 9)
	md, err := putFor(testContext(t), kv, "a")
	if err != nil || value(md, metaPolicy) != "QUORUM" || value(md, trailerDegraded) != "ASYNC" || value(md, trailerAckedBy) != "dc-a" {
		t.Fatal(md, err)
	}
	m := s.nodes[0].metrics
	if k := s.nodes[0].Keyspaces()[0].Degraded; k == nil || k.Bytes == 0 || counted(t, m.degraded.WithLabelValues("")) != 1 {
		t.Errorf("status %+v", k)
	}
	eventually(t, "the bytes are used up", func() bool { _, err = putFor(testContext(t), kv, "a"); return err != nil })
	before := s.data.attempts()
	if _, err := putFor(testContext(t), kv, "a"); status.Code(err) != codes.Unavailable || s.data.attempts() != before ||
		!strings.Contains(err.Error(), "the degradation to ASYNC is used up: no more than 40 bytes") {
		t.Errorf("got %v", err)
	}
	s.peers.restore("dc-b")
	if md, err := putFor(testContext(t), kv, "a"); err != nil || value(md, trailerDegraded) != "[]" {
		t.Errorf("used up, but the policy can be met: %v %v", md, err)
	}
	if counted(t, m.degraded.WithLabelValues("")) != 1 {
		t.Error("left while the peers are far behind")
	}
	s.peers.restore("dc-c")
	s.peers.lags("dc-b", 0, 0, 0)
	eventually(t, "it is left", func() bool { return counted(t, m.degraded.WithLabelValues("")) == 0 })
	if n := counted(t, m.degradedSeconds.WithLabelValues("")); n < 0.3 {
		t.Errorf("lasted for %v s", n)
	}
	events := s.nodes[0].PolicyEvents()
	if len(events) != 3 || events[0].To != "ASYNC" || !strings.Contains(events[0].Reason, "dc-b is down (gone)") ||
		events[1].To != "QUORUM" || events[2].From != "ASYNC" || !strings.Contains(events[2].Reason, "the peers are back") {
		t.Errorf("events %+v", events)
	}
}

// A peer that comes and goes must not make the policy flap.
func TestDegradationHasHysteresis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := bareServer(MaxLag{})
		peers := newFakePeers(s.dc.(fakeNode).fakeData, "dc-b")
		s.replication, s.log = fakeReplication{peers, s.dc.(fakeNode)}, slog.New(slog.DiscardHandler)
		r.policy, r.degrade = policy.Any, newDegradation("k/", defaultDegrade)
		peers.lags("dc-b", 0, 0, 0)
		changes := 0
		for i := range 200 { // 20 s, of which every other second is an outage
			if i/10%2 == 0 {
				peers.fail("dc-b", "gone")
			} else {
				peers.restore("dc-b")
			}
			if p, err := s.weaken(t.Context(), r, 1); err != nil || p != policy.Async {
				t.Fatalf("after %d00 ms: %s, %v", i, p, err)
			}
			s.lookAtPeersOf(r.degrade.of[0])
			time.Sleep(100 * time.Millisecond)
		}
		changes = len(s.PolicyEvents())
		for range 60 {
			s.lookAtPeersOf(r.degrade.of[0])
			time.Sleep(100 * time.Millisecond)
		}
		if p, err := s.weaken(t.Context(), r, 1); err != nil || p != policy.Any {
			t.Errorf("6 s after the last outage: %s, %v", p, err)
		}
		if changes != 1 || len(s.PolicyEvents()) != 2 {
			t.Errorf("%d changes, then %+v", changes, s.PolicyEvents())
		}
		peers.fail("dc-b", "gone")
		_, _ = s.weaken(t.Context(), r, 1)
		s.lookAt(r.degrade.of[0], &standing{at: time.Now()}) // leads no more
		if r.degrade.of[0].holds(policy.Any) {
			t.Error("a node that does not lead keeps the state")
		}
	})
}

func (s *Server) lookAtPeersOf(d *degradation) {
	s.read(s.replication.Peers()...)
	s.lookAt(d, s.standing.Load())
}

// An election does not give the bounds back: neither the bytes nor the time.
func TestElectionDoesNotExtendDegradation(t *testing.T) {
	s := newSite(t, 2, func(c *Config) {
		c.Keyspaces = []Keyspace{{Policy: new(policy.Quorum), OnUnreachable: UnreachableDegrade,
			Degrade: Degrade{MaxBytes: 60, RecoverAfter: 50 * time.Millisecond}}}
	})
	s.peers.fail("dc-b", "gone")
	s.peers.fail("dc-c", "gone")
	written := 0
	for i := 0; ; i = 1 - i {
		_, err := putFor(testContext(t), s.kv(0), "a")
		if err != nil {
			if !strings.Contains(err.Error(), "no more than 60 bytes") {
				t.Fatal(err)
			}
			break
		}
		if written++; written > 60 {
			t.Fatal("an election after each write, and no end")
		}
		s.data.lead(uint64(2 - i))
	}
	if size := proto.Size(putReq("a")); written != 60/size {
		t.Errorf("%d writes of %d bytes within 60", written, size)
	}
	began := s.nodes[0].Keyspaces()
	if began == nil {
		began = s.nodes[1].Keyspaces()
	}
	if d := began[0].Degraded; d == nil || d.Bytes == 0 || d.Bytes > 60 {
		t.Errorf("status %+v", d)
	}
	// Once it is left, the datacenter forgets it.
	for _, n := range []string{"dc-b", "dc-c"} {
		s.peers.restore(n)
		s.peers.lags(n, 0, 0, 0)
	}
	s.peers.ack("dc-b", 999)
	eventually(t, "it is over", func() bool { return len(s.nodes[0].fake.Degraded()) == 0 })
	s.peers.fail("dc-b", "gone")
	s.peers.fail("dc-c", "gone")
	eventually(t, "a new one has all its bounds", func() bool {
		md, err := putFor(testContext(t), s.kv(0), "a")
		return err == nil && value(md, trailerDegraded) == "ASYNC"
	})
}

func TestSpellAdopts(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	limits := Degrade{MaxTime: time.Minute, MaxBytes: 100}.over(defaultDegrade)
	g := dc.Degradation{Bytes: 70, Low: uint8(policy.Any), High: uint8(policy.Quorum), Seen: at}
	var sp spell
	if !sp.adopt(g) || sp.low != policy.Any || sp.high != policy.Quorum || sp.adopt(g) {
		t.Errorf("adopted %+v", sp)
	}
	if ok, began, _ := sp.take(limits, at.Add(time.Second), policy.All, 30); !ok || began {
		t.Errorf("30 bytes fit: %+v", sp)
	}
	if sp.adopt(g); sp.bytes != 100 {
		t.Errorf("what this leader counted is gone: %+v", sp)
	}
	late := spell{}
	late.adopt(g)
	if ok, _, _ := late.take(limits, at.Add(time.Minute), policy.All, 1); ok {
		t.Error("the time of the earlier leader does not count")
	}
}
