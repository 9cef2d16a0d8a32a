package kubernetes

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
)

// change is an event of a watch, as far as it must be the same for everybody. Every transaction of the storage layer
// changes one object, so that a resource version stands for one change.
type change struct {
	version uint64
	kind    watch.EventType
	name    string
}

// follower watches as an API server's cache does: when its watch ends it goes on from the last event that it had.
type follower struct {
	s    *store
	from string

	mu   sync.Mutex
	seen []change // guarded by mu, as below
	ends int      // watches that ended
}

func (f *follower) run(ctx context.Context) error {
	at := f.from
	for ctx.Err() == nil {
		w, err := f.s.Watch(ctx, "/pods/", storage.ListOptions{ResourceVersion: at, Recursive: true, Predicate: storage.Everything})
		if err != nil {
			continue // the next one comes through when there is a leader
		}
		for e := range w.ResultChan() {
			if e.Type == watch.Error {
				if err := apierrors.FromObject(e.Object); apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
					w.Stop()
					return fmt.Errorf("history that nobody compacted is gone: %w", err)
				}
				break
			}
			p := e.Object.(*example.Pod)
			v, err := f.s.Versioner().ObjectResourceVersion(p)
			if err != nil {
				return err
			}
			at = p.ResourceVersion
			f.mu.Lock()
			f.seen = append(f.seen, change{v, e.Type, p.Name})
			f.mu.Unlock()
		}
		w.Stop()
		f.mu.Lock()
		f.ends++
		f.mu.Unlock()
	}
	return nil
}

func (f *follower) all() ([]change, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen), f.ends
}

// writer is one client of one API server, with objects of its own.
type writer struct {
	s    *store
	name string

	acked  []uint64          // resource versions that were answered
	exists map[string]uint64 // by name, the version last answered
	gone   map[string]bool   // deleted, and that was answered
	errors int
	took   time.Duration // the longest until a write was answered, repetitions included
}

// run writes until stop is closed: an object, two updates, and every third one is deleted again.
func (w *writer) run(ctx context.Context, stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		name := fmt.Sprintf("%s-%d", w.name, i)
		w.until(ctx, name, func(ctx context.Context) (*example.Pod, error) {
			out := &example.Pod{}
			err := w.s.Create(ctx, podKey(name), pod(name), out, 0)
			if storage.IsExist(err) { // an attempt whose answer was lost
				err = w.s.Get(ctx, podKey(name), storage.GetOptions{}, out)
			}
			return out, err
		})
		for range 2 {
			w.until(ctx, name, func(ctx context.Context) (*example.Pod, error) { return add(ctx, w.s, name, nil) })
		}
		if i%3 == 0 {
			w.until(ctx, "", func(ctx context.Context) (*example.Pod, error) {
				out := &example.Pod{}
				err := w.s.Delete(ctx, podKey(name), out, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
				if storage.IsNotFound(err) {
					return nil, nil
				}
				return out, err
			})
			delete(w.exists, name)
			w.gone[name] = true
		}
	}
}

// until repeats a write until it is answered.
func (w *writer) until(ctx context.Context, name string, write func(context.Context) (*example.Pod, error)) {
	began := time.Now()
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(ctx, 10*time.Second)
		out, err := write(one)
		cancel()
		if err != nil {
			w.errors++
			continue
		}
		w.took = max(w.took, time.Since(began))
		if out == nil {
			return
		}
		if v, err := w.s.Versioner().ObjectResourceVersion(out); err == nil {
			w.acked = append(w.acked, v)
			if name != "" {
				w.exists[name] = v
			}
		}
		return
	}
}

// TestLeaderIsKilled writes and watches through all nodes while the leader is killed and started again, twice. Then
// every object is there as it was last answered, and each watcher has had every change once, in order.
func TestLeaderIsKilled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	first := create(ctx, t, newStore(t), "first", 0)

	following, stopFollowing := context.WithCancel(ctx)
	defer stopFollowing()
	var followers []*follower
	ended := make(chan error, 4)
	for range cap(ended) {
		f := &follower{s: newStore(t), from: first.ResourceVersion}
		followers = append(followers, f)
		go func() { ended <- f.run(following) }()
	}
	var writers []*writer
	var writing sync.WaitGroup
	stop := make(chan struct{})
	for i := range 8 {
		w := &writer{s: newStore(t), name: fmt.Sprintf("w%d", i), exists: map[string]uint64{}, gone: map[string]bool{}}
		writers = append(writers, w)
		writing.Go(func() { w.run(ctx, stop) })
	}
	goOn := func() {
		t.Helper()
		before, _ := followers[0].all()
		eventually(t, 60*time.Second, "100 more changes", func() bool { now, _ := followers[0].all(); return len(now) > len(before)+100 })
	}
	goOn()
	for range 2 {
		killLeader(ctx, t)
		goOn()
	}
	close(stop)
	writing.Wait()
	if ctx.Err() != nil {
		t.Fatal("the writers did not end")
	}
	checkObjects(ctx, t, writers)
	checkFollowers(ctx, t, followers, writers, first.ResourceVersion)
	stopFollowing()
	for range followers {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// killLeader asks whoever runs the cluster; without such a URL nothing is killed.
func killLeader(ctx context.Context, t *testing.T) {
	t.Helper()
	url := os.Getenv(faultEnv)
	if url == "" {
		t.Logf("no %s: no leader is killed", faultEnv)
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("kill the leader: %s, %s, %v", resp.Status, body, err)
	}
}

func checkObjects(ctx context.Context, t *testing.T, writers []*writer) {
	t.Helper()
	all, err := list(ctx, writers[0].s, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for i := range all.Items {
		if got[all.Items[i].Name], err = writers[0].s.Versioner().ObjectResourceVersion(&all.Items[i]); err != nil {
			t.Fatal(err)
		}
	}
	delete(got, "first")
	want := 0
	for _, w := range writers {
		t.Logf("%s: %d writes answered, %d errors, the longest wait %s", w.name, len(w.acked), w.errors, w.took)
		want += len(w.exists)
		for name, version := range w.exists {
			if got[name] != version {
				t.Errorf("%s was answered at %d and is at %d (0: it is missing)", name, version, got[name])
			}
		}
		for name := range w.gone {
			if _, there := got[name]; there {
				t.Errorf("%s was deleted and is there", name)
			}
		}
	}
	if len(got) != want {
		t.Errorf("%d objects, want %d", len(got), want)
	}
}

// checkFollowers compares what each watcher has seen with the history that a new watch is told.
func checkFollowers(ctx context.Context, t *testing.T, followers []*follower, writers []*writer, from string) {
	t.Helper()
	s := newStore(t)
	last, err := s.GetCurrentResourceVersion(ctx)
	if err != nil {
		t.Fatal(err)
	}
	end := create(ctx, t, s, "end", 0)
	endVersion, err := s.Versioner().ObjectResourceVersion(end)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch(ctx, "/pods/", storage.ListOptions{ResourceVersion: from, Recursive: true, Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	var truth []change
	known := map[uint64]bool{}
	for len(truth) == 0 || truth[len(truth)-1].version < endVersion {
		e := next(t, w)
		p, ok := e.Object.(*example.Pod)
		if !ok {
			t.Fatalf("history has %s %v", e.Type, e.Object)
		}
		v, err := s.Versioner().ObjectResourceVersion(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(truth) > 0 && v <= truth[len(truth)-1].version {
			t.Fatalf("history has %d after %d", v, truth[len(truth)-1].version)
		}
		truth = append(truth, change{v, e.Type, p.Name})
		known[v] = true
	}
	for _, w := range writers {
		for _, v := range w.acked {
			if !known[v] {
				t.Errorf("%s was answered %d, of which history to %d has nothing", w.name, v, last)
			}
		}
	}
	for i, f := range followers {
		eventually(t, 30*time.Second, fmt.Sprintf("watcher %d to see the end", i), func() bool {
			seen, _ := f.all()
			return len(seen) > 0 && seen[len(seen)-1].version >= endVersion
		})
		seen, ends := f.all()
		t.Logf("watcher %d: %d changes, its watch ended %d times", i, len(seen), ends)
		if !slices.Equal(seen, truth) {
			t.Errorf("watcher %d saw %d changes, history has %d: first difference %s", i, len(seen), len(truth), difference(seen, truth))
		}
	}
}

func difference(seen, truth []change) string {
	for i := range min(len(seen), len(truth)) {
		if seen[i] != truth[i] {
			return fmt.Sprintf("number %d is %v, want %v", i, seen[i], truth[i])
		}
	}
	return "at the end"
}
