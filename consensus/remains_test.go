package consensus

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"
)

// A follower's log holds what was acknowledged last, though it does not know that it is committed. Whichever node is
// left, what is unfolded from it holds every acknowledged write that it has.
func TestUnfoldKeepsTheEndOfTheLog(t *testing.T) {
	g := newGroup(t, 3, nil)
	leader := g.leader()
	var acked []string
	for i := range 20 {
		acked = append(acked, text(i, 50))
		g.put(acked[i])
	}
	g.everywhere(leader)
	for _, s := range g.sites {
		s.app.mu.Lock()
		s.app.lazy = true // the state machine's disk stays behind the log
		s.app.mu.Unlock()
	}
	for i := 20; i < 25; i++ {
		acked = append(acked, text(i, 50))
		g.put(acked[i])
	}
	g.everywhere(leader)
	if alive := Alive(t.Context(), g.config(leader), leader.node.Membership().Members); len(alive) != 2 {
		t.Errorf("alive are %+v", alive)
	}
	for _, s := range g.sites {
		g.kill(s)
	}
	behind := 0
	for _, s := range g.sites {
		s.app = newApp(t, s.id, s.disk)
		s.app.lazy = true
		before := len(s.app.texts())
		left, err := Survey(g.config(s))
		if err != nil {
			t.Fatal(err)
		}
		if left.Committed < left.Index {
			behind++
		}
		if len(left.Members) != 3 || len(Alive(t.Context(), g.config(s), left.Members)) != 0 {
			t.Errorf("node %d: %+v", s.id, left)
		}
		end, err := Unfold(g.config(s))
		if err != nil || end.Index != left.Index {
			t.Fatal(end, err)
		}
		if got := s.app.texts(); len(got) <= before || !slices.Equal(got, acked) {
			t.Errorf("node %d: %d writes on disk, %d unfolded, %d acknowledged", s.id, before, len(got), len(acked))
		}
		f := Founding{Dir: t.TempDir(), ClusterID: ourCluster, NodeID: s.id, Index: end.Index + 1000, Term: end.Term + 1000}
		cfg := g.config(s)
		f.Survivor(&cfg, end)
		at, err := f.Applied()
		if err != nil {
			t.Fatal(err)
		}
		if err := Found(f); err != nil {
			t.Fatal(err)
		}
		cfg.Dir, s.app = f.Dir, newApp(t, s.id, &disk{applied: at})
		cfg.StateMachine = s.app
		alone, err := Survey(cfg)
		if err != nil || len(alone.Members) != 1 || alone.Members[0].ID != s.id || len(alone.Removed) != 2 || alone.Index != f.Index {
			t.Errorf("the new group: %+v, %v", alone, err)
		}
		s.app = newApp(t, s.id, s.disk)
	}
	if behind == 0 {
		t.Error("every node knew the end of its log to be committed: the test shows nothing")
	}
	cfg := g.config(g.sites[0])
	cfg.Dir = filepath.Join(t.TempDir(), "empty")
	if _, err := Survey(cfg); !errors.Is(err, ErrNothingLeft) {
		t.Errorf("an empty directory: %v", err)
	}
}
