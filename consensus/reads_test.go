package consensus

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/raft/v3"
)

// read waits until a node may serve a linearizable read and returns what it has applied.
func (g *group) read(ctx context.Context, s *site) ([]string, error) {
	index, err := s.node.ReadIndex(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.node.WaitApplied(ctx, index); err != nil {
		return nil, err
	}
	return s.app.texts(), nil
}

// Every read that begins after a write was acknowledged sees it, on every node.
func TestReadsAreLinearizableOnEveryNode(t *testing.T) {
	g := newGroup(t, 3, nil)
	g.leader()
	var acked atomic.Int64
	acked.Store(-1)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		defer stop()
		for i := range 300 {
			g.put(strconv.Itoa(i))
			acked.Store(int64(i))
		}
	})
	for _, s := range g.sites {
		for range 3 {
			wg.Go(func() {
				for ctx.Err() == nil {
					want := acked.Load()
					texts, err := g.read(ctx, s)
					if err != nil {
						if ctx.Err() == nil {
							t.Errorf("read on node %d: %v", s.id, err)
						}
						return
					}
					if want >= 0 && !slices.ContainsFunc(texts, func(s string) bool {
						return s[:min(len(s), len(strconv.FormatInt(want, 10)))] == strconv.FormatInt(want, 10)
					}) {
						t.Errorf("node %d does not see write %d", s.id, want)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}

// A leader that was cut off must not answer a read, however long it believes that it leads.
func TestIsolatedNodesServeNoReads(t *testing.T) {
	g := newGroup(t, 3, nil)
	g.grown()
	old := g.leader()
	g.put("old")
	g.isolate(old, true)
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() { _, err := g.read(ctx, old); answered <- err }()
	g.put("new", old)
	eventually(t, "the isolated node to know that it has no leader", func() bool { return old.node.Status().Leader == 0 })
	select {
	case err := <-answered:
		t.Fatalf("read on an isolated node ended: %v", err)
	default:
	}
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) || !errors.Is(err, ErrNoLeader) {
		t.Errorf("%v, want ErrNoLeader with context.Canceled", err)
	}
	// A reader that waits long enough is served by the next leader.
	go func() {
		texts, err := g.read(t.Context(), old)
		if err == nil && !slices.Contains(texts, "new") {
			err = errors.New("stale read")
		}
		answered <- err
	}()
	g.isolate(old, false)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestReadsShareRounds(t *testing.T) {
	r := newReads(1, 3)
	now := time.Now()
	state := func(id []byte, index uint64) []raft.ReadState {
		return []raft.ReadState{{Index: index, RequestCtx: id}}
	}
	if id, _ := r.request(now, time.Second); id != nil {
		t.Fatal("a request without readers")
	}
	a, _ := r.join()
	if b, _ := r.join(); a != b {
		t.Fatal("two readers at the same time in different rounds")
	}
	first, _ := r.request(now, time.Second)
	late, _ := r.join()
	if late == a {
		t.Fatal("a reader joined a round that has been asked for")
	}
	if id, _ := r.request(now.Add(time.Millisecond), time.Second); id != nil {
		t.Fatal("asked again too soon")
	}
	second, again := r.request(now.Add(time.Second), time.Second)
	if !again || slices.Equal(first, second) {
		t.Fatal("an id was used again")
	}
	r.answer(state([]byte("foreign"), 1))
	r.answer(state(first, 5)) // the first request of the round counts as well
	<-a.done
	if a.index != 5 {
		t.Fatalf("index %d, want 5", a.index)
	}
	third, _ := r.request(now.Add(time.Second), time.Second)
	r.answer(state(second, 6)) // belongs to the round before
	select {
	case <-late.done:
		t.Fatal("a round was ended by the answer to a request from before it")
	default:
	}
	r.leaderChanged()
	r.answer(state(third, 7))
	select {
	case <-late.done:
		t.Fatal("a round was ended by an answer from before the change of leader")
	default:
	}
	fourth, _ := r.request(now.Add(time.Second), time.Second)
	r.answer(state(fourth, 8))
	if <-late.done; late.index != 8 {
		t.Fatalf("index %d, want 8", late.index)
	}
	for range 3 {
		r.join()
	}
	if _, err := r.join(); !errors.Is(err, ErrOverloaded) {
		t.Errorf("%v, want ErrOverloaded", err)
	}
	r.fail(ErrStopped)
}
