package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"geogate/dc/store"
)

// next renders what a watcher gives: the events, and the revision that they are complete up to.
func next(t testing.TB, w *store.Watcher) string {
	t.Helper()
	ev, err := w.Next(testContext(t))
	if err != nil {
		t.Fatalf("next: %v", err)
	}
	var out []string
	for _, e := range ev.Events {
		s := fmt.Sprintf("%s%s@%d", map[mvccpb.Event_EventType]string{mvccpb.Event_DELETE: "-"}[e.Type], e.Kv.Key, e.Kv.ModRevision)
		if e.PrevKv != nil {
			s += fmt.Sprintf("(was %s)", e.PrevKv.Value)
		}
		out = append(out, s)
	}
	return fmt.Sprintf("%s :%d", strings.Join(out, " "), ev.Revision)
}

func expectNext(t testing.TB, w *store.Watcher, want string) {
	t.Helper()
	if got := next(t, w); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func expectProgress(t testing.TB, w *store.Watcher, rev int64, synced bool) {
	t.Helper()
	if r, s := w.Progress(); r != rev || s != synced {
		t.Errorf("progress %d, synced %v; want %d, %v", r, s, rev, synced)
	}
}

func TestWatchSpans(t *testing.T) {
	x := newScript(t)
	open := func(o store.WatchOptions) *store.Watcher {
		w := x.s.Watch(o)
		t.Cleanup(w.Close)
		return w
	}
	key := open(store.WatchOptions{Key: []byte("b")})
	prefix := open(store.WatchOptions{Key: []byte("b"), End: []byte("c")})
	from := open(store.WatchOptions{Key: []byte("b"), End: []byte{0}, NoDelete: true})
	all := open(store.WatchOptions{Key: []byte{0}, End: []byte{0}, NoPut: true})
	x.entry("a=1 b=1 ba=1 c=1", "-b -c")
	x.entry("-a")
	expectNext(t, key, "b@2 -b@3 :3")
	expectNext(t, prefix, "b@2 ba@2 -b@3 :3")
	expectNext(t, from, "b@2 ba@2 c@2 :2")
	expectNext(t, all, "-b@3 -c@3 -a@4 :4")
	for _, w := range []*store.Watcher{key, prefix, from, all} {
		expectProgress(t, w, 4, true)
	}
}

func TestWatchPreviousVersions(t *testing.T) {
	x := newScript(t)
	x.entry("a=1", "a=2")
	w := x.s.Watch(store.WatchOptions{Key: []byte("a"), Start: 2, PrevKV: true})
	defer w.Close()
	expectNext(t, w, "a@2 a@3(was 1) :3")
	x.entry("-a")
	x.flush()
	expectNext(t, w, "-a@4(was 2) :4")
	x.entry("a=3")
	expectNext(t, w, "a@5 :5")
	x.entry("a=4", "a=5")
	x.entry("compact:7")
	expectNext(t, w, "a@6 a@7 :7") // what was before is compacted away
}

func TestWatchOfTheFutureWaits(t *testing.T) {
	x := newScript(t)
	w := x.s.Watch(store.WatchOptions{Key: []byte("a"), Start: 4})
	defer w.Close()
	x.entry("a=1", "a=2")
	expectProgress(t, w, 3, true)
	x.entry("a=3", "a=4")
	expectNext(t, w, "a@4 a@5 :5")
}

func TestWatchOverALeap(t *testing.T) {
	x := newScript(t)
	x.entry("a=1")
	w := x.s.Watch(store.WatchOptions{Key: []byte("a")})
	defer w.Close()
	future := x.s.Watch(store.WatchOptions{Key: []byte("a"), Start: 100})
	defer future.Close()
	x.entry("a=2")
	x.chain(func(b *store.Batch) { b.Leap(1000) })
	x.entry("a=3")
	expectNext(t, w, "a@3 a@1004 :1004")
	expectNext(t, future, "a@1004 :1004")
	x.flush()
	x.entry("-a")
	expectNext(t, w, "-a@1005 :1005")
	old := x.s.Watch(store.WatchOptions{Key: []byte("a"), Start: 3})
	defer old.Close()
	var gone store.ErrCompactedAt
	if _, err := old.Next(testContext(t)); !errors.As(err, &gone) || gone.Revision != 1003 {
		t.Errorf("watch of what was before the leap: %v", err)
	}
}

func TestWatchOverflowReadsHistory(t *testing.T) {
	x := newScript(t, func(c *store.Config) { c.WatchBufferEvents = 3 })
	slow := x.s.Watch(store.WatchOptions{Key: []byte("a"), End: []byte("b")})
	defer slow.Close()
	x.entry("a1=1 a2=1", "a1=2", "a2=2", "z=1", "a3=1 a4=1 a5=1 a6=1")
	expectProgress(t, slow, 1, false)
	expectNext(t, slow, "a1@2 a2@2 a1@3 :3")
	expectProgress(t, slow, 3, false)
	x.flush()
	x.entry("-a1")
	expectNext(t, slow, "a2@4 a3@6 a4@6 a5@6 a6@6 -a1@7 :7")
	if _, err := slow.Next(canceled()); !errors.Is(err, context.Canceled) {
		t.Errorf("next: %v", err)
	}
	// It has joined once Next has found no more history.
	done := make(chan string)
	go func() { done <- next(t, slow) }()
	x.entry("a9=1")
	if got := <-done; got != "a9@8 :8" {
		t.Errorf("got %q", got)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestWatchHistoryIsReadInSteps(t *testing.T) {
	x := newScript(t)
	var txn []string
	for i := range 3000 {
		txn = append(txn, fmt.Sprintf("k%d=1", i))
	}
	big := strings.Join(txn, " ")
	x.entry(big, big)
	x.flush()
	x.entry(big)
	w := x.s.Watch(store.WatchOptions{Key: []byte("k"), End: []byte("l"), Start: 2})
	defer w.Close()
	got := map[int64]int{}
	calls := 0
	for last := int64(0); last < 4; calls++ {
		ev, err := w.Next(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range ev.Events {
			got[e.Kv.ModRevision]++
			if e.Kv.ModRevision < last {
				t.Fatalf("revision %d behind %d", e.Kv.ModRevision, last)
			}
			last = e.Kv.ModRevision
		}
	}
	if got[2] != 3000 || got[3] != 3000 || got[4] != 3000 || calls != 2 {
		t.Errorf("%v in %d steps, want 3000 of each revision in 2", got, calls)
	}
}

func TestNextEndsWithWatcherContextAndStore(t *testing.T) {
	x := newScript(t)
	synctest.Test(t, func(t *testing.T) {
		wait := func(ctx context.Context, w *store.Watcher) chan error {
			c := make(chan error, 1)
			go func() {
				_, err := w.Next(ctx)
				c <- err
			}()
			synctest.Wait()
			select {
			case err := <-c:
				t.Fatalf("next did not wait: %v", err)
			default:
			}
			return c
		}
		w := x.s.Watch(store.WatchOptions{Key: []byte("a")})
		ctx, cancel := context.WithCancel(t.Context())
		c := wait(ctx, w)
		cancel()
		if err := <-c; !errors.Is(err, context.Canceled) {
			t.Errorf("context ended: %v", err)
		}
		c = wait(t.Context(), w)
		w.Close()
		w.Close()
		if err := <-c; !errors.Is(err, store.ErrClosed) {
			t.Errorf("watcher closed: %v", err)
		}
		w = x.s.Watch(store.WatchOptions{Key: []byte("a"), End: []byte("b")})
		c = wait(t.Context(), w)
		if err := x.s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-c; !errors.Is(err, store.ErrClosed) {
			t.Errorf("store closed: %v", err)
		}
		if _, err := x.s.Watch(store.WatchOptions{Key: []byte("a")}).Next(t.Context()); !errors.Is(err, store.ErrClosed) {
			t.Errorf("watch of a closed store: %v", err)
		}
	})
}
