package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"geogate/replication/event"
	"geogate/replication/health"
)

// snapshots is the state of a model as chunks of a fixed size: "key-000" and so on. What is merged is only
// written down.
type snapshots struct {
	m      *model
	chunks int

	mu       sync.Mutex
	exported []string // guarded by mu, as all below
	merged   []string
	adopted  int
	marks    []event.Mark // that were adopted
	onExport func(i int)
	awaits   bool            // until it has adopted
	settled  *event.Position // of the sender, where that is less than what it has
}

func (s *snapshots) SnapshotMarks() ([]event.Mark, int64, event.Stamp, error) {
	marks, revision, high := s.Marks()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settled != nil {
		marks[0].Position = *s.settled
	}
	return marks, revision, high, nil
}

func (s *snapshots) Marks() ([]event.Mark, int64, event.Stamp) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	marks := []event.Mark{{Position: event.Position{Origin: s.m.name, Incarnation: s.m.incarnation}}}
	for o, p := range s.m.positions {
		p.Origin = o
		if o == s.m.name {
			marks[0].Position = p
		} else if p.Incarnation != 0 {
			marks = append(marks, event.Mark{Position: p})
		}
	}
	return marks, s.m.revision, 1
}

func (s *snapshots) Export(_ context.Context, after []byte, _ int64, _ int) (chunk, last []byte, done bool, err error) {
	i := 0
	if len(after) > 0 {
		if _, err := fmt.Sscanf(string(after), "key-%d", &i); err != nil {
			return nil, nil, false, err
		}
		i++
	}
	key := fmt.Sprintf("key-%03d", i)
	s.mu.Lock()
	s.exported = append(s.exported, key)
	hook := s.onExport
	s.mu.Unlock()
	if hook != nil {
		hook(i)
	}
	chunk = append([]byte(key), bytes.Repeat([]byte{byte(i)}, 100_000)...)
	return chunk, []byte(key), i >= s.chunks-1, nil
}

func (s *snapshots) Merge(_ context.Context, chunk []byte) (<-chan error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.merged = append(s.merged, string(chunk[:len("key-000")]))
	result := make(chan error, 1)
	result <- nil
	return result, nil
}

func (s *snapshots) Adopt(_ context.Context, from string, marks []event.Mark, _ event.Stamp) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.chunks {
		if !slices.Contains(s.merged, fmt.Sprintf("key-%03d", i)) {
			return errors.New("adopted before all chunks were merged")
		}
	}
	s.adopted++
	s.marks = marks
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for _, mark := range marks {
		if mark.Origin == s.m.name {
			continue
		}
		if old := s.m.positions[mark.Origin]; mark.Origin == from || mark.Incarnation == old.Incarnation && mark.Revision > old.Revision {
			s.m.positions[mark.Origin] = mark.Position
		}
	}
	close(s.m.changed)
	s.m.changed = make(chan struct{})
	return nil
}

func (s *snapshots) Awaits(string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.awaits && s.adopted == 0 {
		return "it is to be compared"
	}
	return ""
}

func (s *snapshots) counts() (exported, adopted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.exported), s.adopted
}

// snapshotPair is a cluster of a and b, where a has dropped frames that b has not had.
func snapshotPair(t *testing.T, chunks int, tune func(*Config)) (c *cluster, a, b *snapshots) {
	c = prepareCluster(t, nil, "a", "b")
	a, b = &snapshots{m: c.dcs["a"], chunks: chunks}, &snapshots{m: c.dcs["b"], chunks: chunks}
	c.tune = func(cfg *Config) {
		cfg.FetchWindowBytes, cfg.ChunkBytes = 300_000, 100_000
		cfg.Snapshots = map[string]Snapshots{"a": a, "b": b}[cfg.Local]
		if tune != nil {
			tune(cfg)
		}
	}
	var last int64
	for range 10 {
		last = c.dcs["a"].write(t, []byte("x"))
	}
	c.dcs["a"].trimTo("a", last-2)
	return c, a, b
}

func (c *cluster) startAll() {
	for _, dc := range c.names {
		c.start(dc, "n1")
		c.nodes[dc]["n1"].lead(1)
	}
}

func TestSnapshotWhereFramesAreGone(t *testing.T) {
	c, a, b := snapshotPair(t, 20, nil)
	c.startAll()
	eventually(t, 10*time.Second, "b adopts", func() bool { _, n := b.counts(); return n == 1 })
	c.dcs["a"].write(t, []byte("tail"))
	eventually(t, 10*time.Second, "the tail arrives behind the snapshot", func() bool {
		return c.dcs["b"].Position("a") == c.dcs["a"].Position("a")
	})
	if n, _ := a.counts(); n != 20 {
		t.Errorf("%d chunks exported for a snapshot of 20", n)
	}
	eventually(t, 5*time.Second, "a sees b confirm", func() bool {
		acked := c.peer("a", "b").Acked
		return acked != nil && *acked == c.dcs["a"].Position("a").Revision
	})
}

// A datacenter that must hear all of a peer takes a snapshot although the peer's frames lead on, and only once.
func TestSnapshotOfAnAwaitedPeer(t *testing.T) {
	c := prepareCluster(t, nil, "a", "b")
	b := &snapshots{m: c.dcs["b"], chunks: 3, awaits: true}
	c.tune = func(cfg *Config) {
		cfg.Snapshots = map[string]Snapshots{"a": &snapshots{m: c.dcs["a"], chunks: 3}, "b": b}[cfg.Local]
	}
	c.dcs["a"].write(t, []byte("x"))
	c.startAll()
	eventually(t, 10*time.Second, "b adopts", func() bool { _, n := b.counts(); return n == 1 })
	c.dcs["a"].write(t, []byte("tail"))
	eventually(t, 10*time.Second, "the tail arrives", func() bool { return c.dcs["b"].Position("a") == c.dcs["a"].Position("a") })
	if _, n := b.counts(); n != 1 {
		t.Errorf("%d snapshots", n)
	}
}

// A connection that is lost in the middle costs the window under way, not the snapshot.
func TestSnapshotGoesOnAfterALostConnection(t *testing.T) {
	c, a, b := snapshotPair(t, 30, nil)
	var once sync.Once
	a.onExport = func(i int) {
		if i == 20 {
			once.Do(func() { c.links["a"]["n1"].sever() })
		}
	}
	c.startAll()
	eventually(t, 20*time.Second, "b adopts", func() bool { _, n := b.counts(); return n == 1 })
	if n, _ := a.counts(); n < 31 || n > 40 {
		t.Errorf("%d chunks exported; a snapshot of 30 that was interrupted once should repeat a few", n)
	}
	c.dcs["a"].write(t, []byte("tail"))
	eventually(t, 10*time.Second, "the tail arrives", func() bool { return c.dcs["b"].Position("a") == c.dcs["a"].Position("a") })
}

// Where a home moves while its snapshot is under way, less of it is settled than there was at first: what was left out
// must come as frames.
func TestSnapshotWhileAHomeMoves(t *testing.T) {
	for _, at := range []int{4, 9} { // in the middle, and in the last window
		c, a, b := snapshotPair(t, 10, nil)
		last := c.dcs["a"].Position("a")
		frames, err := c.dcs["a"].Frames("a", last.Revision-2, 1)
		if err != nil {
			t.Fatal(err)
		}
		settled := event.Position{Origin: "a", Incarnation: last.Incarnation, Revision: frames[0].PrevRevision, Hash: frames[0].PrevHash}
		a.onExport = func(i int) {
			if i == at {
				a.mu.Lock()
				a.settled = &settled
				a.mu.Unlock()
			}
		}
		c.startAll()
		eventually(t, 10*time.Second, "b adopts", func() bool { _, n := b.counts(); return n == 1 })
		b.mu.Lock()
		marks := b.marks
		b.mu.Unlock()
		if marks[0].Position != settled {
			t.Errorf("b adopts %s, want %s, which is settled since chunk %d", marks[0].Position, settled, at)
		}
		eventually(t, 10*time.Second, "the frames behind it arrive", func() bool { return c.dcs["b"].Position("a") == last })
	}
}

// A sender that has begun a new life makes the snapshot of before worthless.
func TestSnapshotOfANewLife(t *testing.T) {
	c, _, b := snapshotPair(t, 5, nil)
	c.dcs["b"].mu.Lock()
	c.dcs["b"].positions["a"] = event.Position{Origin: "a", Incarnation: 42, Revision: 3}
	c.dcs["b"].mu.Unlock()
	c.startAll()
	eventually(t, 10*time.Second, "b adopts", func() bool { _, n := b.counts(); return n == 1 })
	if p := c.dcs["b"].Position("a"); p.Incarnation != c.dcs["a"].Incarnation() {
		t.Errorf("b stands at %s", p)
	}
}

func TestSnapshotIsPaced(t *testing.T) {
	c, _, b := snapshotPair(t, 10, func(cfg *Config) { cfg.SnapshotRate = 1_000_000 })
	began := time.Now()
	c.startAll()
	eventually(t, 20*time.Second, "b adopts", func() bool { _, n := b.counts(); return n == 1 })
	if took := time.Since(began); took < 600*time.Millisecond {
		t.Errorf("1 MB at 1 MB/s took %s", took)
	}
}

func TestPeerPastRetentionIsShown(t *testing.T) {
	c, _, _ := snapshotPair(t, 5, func(cfg *Config) { cfg.Snapshots = nil })
	c.startAll()
	eventually(t, 10*time.Second, "a says that b needs a snapshot", func() bool { return c.peer("a", "b").NeedsSnapshot != "" })
	events := c.peer("a", "b").HealthEvents
	if !slices.ContainsFunc(events, func(e health.Event) bool { return bytes.Contains([]byte(e.Reason), []byte("needs a snapshot")) }) {
		t.Errorf("no event of it: %v", events)
	}
}

// The tail of an origin that is gone comes from the DC that has it.
func TestRelayOfADeadOrigin(t *testing.T) {
	c := newCluster(t, func(cfg *Config) { cfg.PingInterval = 100 * time.Millisecond }, "a", "b", "c")
	c.dcs["a"].write(t, []byte("everywhere"))
	c.settle(10 * time.Second)
	c.nodes["a"]["n1"].endLead()
	for range 50 { // reached b, never c
		c.dcs["a"].write(t, []byte("tail"))
	}
	frames, err := c.dcs["a"].Frames("a", c.dcs["b"].Position("a").Revision, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if err := c.dcs["b"].apply(f); err != nil {
			t.Fatal(err)
		}
	}
	c.nodes["a"]["n1"].stop()
	eventually(t, 20*time.Second, "c has the tail from b", func() bool {
		return c.dcs["c"].Position("a") == c.dcs["b"].Position("a")
	})
	c.check()
}
