package consensus

import (
	"testing"
	"time"
)

func TestCatchUpBytes(t *testing.T) {
	for _, c := range []struct {
		what              string
		size, bound, want int64
	}{
		{"nothing yet", 0, 64 << 20, 1 << 20},
		{"small", 15 << 20, 64 << 20, 1 << 20},
		{"a sixteenth", 160 << 20, 64 << 20, 10 << 20},
		{"large", 8 << 30, 64 << 20, 64 << 20},
		{"a bound below the least", 160 << 20, 1 << 19, 1 << 19},
	} {
		cfg := Config{ClusterID: 1, NodeID: 1, Dir: "d", Members: []Member{{ID: 1, Addr: "127.0.0.1:1"}}, SnapshotCatchUpBytes: int(c.bound)}
		if err := cfg.validate(); err != nil {
			t.Fatal(err)
		}
		if got := cfg.catchUpBytes(c.size); got != c.want {
			t.Errorf("%s: %d bytes of log for %d of data and a bound of %d, want %d", c.what, got, c.size, c.bound, c.want)
		}
	}
}

// roomy is a group that keeps 16 KiB of log, or as much as it has data, up to 4 MiB.
func roomy(t *testing.T, data int64, tune func(*Config)) (*group, *site) {
	t.Helper()
	g := newGroup(t, 3, func(c *Config) {
		c.TruncateBytes, c.SnapshotCatchUpMinBytes, c.SnapshotCatchUpShare, c.SnapshotCatchUpBytes = 32<<10, 16<<10, 1, 4<<20
		if tune != nil {
			tune(c)
		}
	})
	leader := g.leader()
	for _, s := range g.sites {
		s.app.size.Store(data)
	}
	g.put("first")
	g.everywhere(leader)
	return g, g.follower(leader)
}

// A follower that was away for long finds as much of the log as the data is worth, and no more; one that was away
// for a moment finds what it lacks.
func TestReturningFollower(t *testing.T) {
	for _, c := range []struct {
		what     string
		grace    time.Duration
		data     int64
		missed   int // writes of 2000 bytes
		snapshot bool
	}{
		{"a little, small data", time.Millisecond, 0, 5, false},
		{"much, small data", time.Millisecond, 0, 40, true},
		{"much, large data", time.Millisecond, 1 << 20, 40, false},
		{"much in a short while, small data", time.Hour, 0, 40, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			g, s := roomy(t, c.data, func(cfg *Config) { cfg.CatchUpGrace = c.grace })
			g.heartbeats()
			g.kill(s)
			for i := range c.missed {
				g.put(text(i, 2000), s)
			}
			leader := g.leader(s)
			g.tick(leader, s)
			if first, err := leader.node.mem.FirstIndex(); err != nil || (first > s.disk.applied.Index+1) != c.snapshot {
				t.Errorf("the log begins at %d, the follower has %d: %v", first, s.disk.applied.Index, err)
			}
			g.start(s)
			g.everywhere(g.leader(s))
			if got := s.app.restored() > 0; got != c.snapshot {
				t.Errorf("got a snapshot: %t, want %t", got, c.snapshot)
			}
		})
	}
}

// tick writes until the log of the leader has been shrunk to what it is to keep.
func (g *group) tick(leader *site, away ...*site) {
	g.t.Helper()
	for range 3 { // the durable position is taken over on one tick and acted on with another
		before := leader.node.mem.durable.Load().index
		g.put("tick", away...)
		eventually(g.t, "a tick", func() bool { return leader.node.mem.durable.Load().index > before })
	}
}

// heartbeats lets some time pass, so that the leader has heard of its followers; a follower that it never heard of is
// away. What they have confirmed they have applied, too.
func (g *group) heartbeats() {
	for range 5 {
		g.tick(g.leader())
	}
	g.everywhere(g.leader())
}

// A follower that answers but is slow keeps what it needs in memory, however little the data is.
func TestSlowFollowerNeedsNoSnapshot(t *testing.T) {
	g, s := roomy(t, 0, func(c *Config) { c.MaxApplyQueueBytes, c.CatchUpGrace = 8<<10, time.Minute })
	g.heartbeats()
	g.kill(s)
	if err := g.open(s); err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	s.app.gate = gate
	g.run(s)
	leader := g.leader(s)
	eventually(t, "the follower to be back", func() bool { return leader.node.transport.connected(s.id) })
	for i := range 100 {
		g.put(text(i, 2000), s)
	}
	g.tick(leader, s)
	if held := leader.node.mem.bytes.Load(); held < 64<<10 {
		t.Errorf("%d bytes of log are held for a follower that lags more than that", held)
	}
	close(gate)
	g.everywhere(leader)
	if s.app.restored() > 0 {
		t.Error("got a snapshot although it was there all the time")
	}
	eventually(t, "memory to shrink again", func() bool { return leader.node.mem.bytes.Load() <= 16<<10*9/8 })
}
