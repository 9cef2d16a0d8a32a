package kubernetes

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3"
	etcdfeature "k8s.io/apiserver/pkg/storage/feature"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	"k8s.io/utils/clock"
)

func podKey(name string) string { return "/pods/ns/" + name }

func pod(name string) *example.Pod {
	return &example.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
}

func create(ctx context.Context, t *testing.T, s storage.Interface, name string, ttl uint64) *example.Pod {
	t.Helper()
	out := &example.Pod{}
	if err := s.Create(ctx, podKey(name), pod(name), out, ttl); err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	return out
}

// list is all pods; resourceVersion "" is now, any other one is exact.
func list(ctx context.Context, s storage.Interface, resourceVersion string, limit int64) (*example.PodList, error) {
	opts := storage.ListOptions{Recursive: true, Predicate: storage.Everything, ResourceVersion: resourceVersion}
	opts.Predicate.Limit = limit
	if resourceVersion != "" {
		opts.ResourceVersionMatch = metav1.ResourceVersionMatchExact
	}
	all := &example.PodList{}
	for {
		page := &example.PodList{}
		if err := s.GetList(ctx, "/pods/", opts, page); err != nil {
			return nil, err
		}
		all.ResourceVersion = page.ResourceVersion
		all.Items = append(all.Items, page.Items...)
		if page.Continue == "" {
			return all, nil
		}
		opts.ResourceVersion, opts.ResourceVersionMatch, opts.Predicate.Continue = "", "", page.Continue
	}
}

func names(l *example.PodList) (out []string) {
	for _, p := range l.Items {
		out = append(out, p.Name)
	}
	return out
}

// add makes the counter in a pod one larger.
func add(ctx context.Context, s storage.Interface, name string, cached runtime.Object) (*example.Pod, error) {
	out := &example.Pod{}
	err := s.GuaranteedUpdate(ctx, podKey(name), out, false, nil, storage.SimpleUpdate(func(o runtime.Object) (runtime.Object, error) {
		p := o.(*example.Pod)
		n, _ := strconv.Atoi(p.Annotations["n"]) // none is 0
		p.Annotations = map[string]string{"n": strconv.Itoa(n + 1)}
		return p, nil
	}), cached)
	return out, err
}

// TestNoUpdateIsLost has several API servers add to one counter, from copies that are old most of the time.
func TestNoUpdateIsLost(t *testing.T) {
	const writers, each = 6, 20
	stores := make([]*store, writers)
	for i := range stores {
		stores[i] = newStore(t)
	}
	old := create(t.Context(), t, stores[0], "counter", 0)
	var wg sync.WaitGroup
	for _, s := range stores {
		wg.Go(func() {
			for range each {
				if _, err := add(t.Context(), s, "counter", old); err != nil {
					t.Errorf("update: %v", err)
				}
			}
		})
	}
	wg.Wait()
	got := &example.Pod{}
	if err := stores[0].Get(t.Context(), podKey("counter"), storage.GetOptions{}, got); err != nil {
		t.Fatal(err)
	}
	// The storage layer itself adds once too often now and then, over etcd too (1 run of 25): never too seldom.
	if n, err := strconv.Atoi(got.Annotations["n"]); err != nil || n < writers*each {
		t.Errorf("the counter is %q after %d updates", got.Annotations["n"], writers*each)
	}
}

// withoutStream has every RangeStream refused, as an old etcd does it, but by the server under test: it asks for an order
// that a server does not stream in.
type withoutStream struct {
	clientv3.KV
	asked int
}

func (k *withoutStream) GetStream(ctx context.Context, key string, opts ...clientv3.OpOption) (clientv3.GetStreamChan, error) {
	k.asked++
	return k.KV.GetStream(ctx, key, append(opts, clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend))...)
}

// TestLargeLists compares a list of many pages by RangeStream with one in pages and one by an API server that found
// no RangeStream, now and in the past, and the count.
func TestLargeLists(t *testing.T) {
	const pods = 700
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.EtcdRangeStream, true)
	checker := etcdfeature.DefaultFeatureSupportChecker
	t.Cleanup(func() { etcdfeature.DefaultFeatureSupportChecker = checker })
	etcdfeature.DefaultFeatureSupportChecker = etcdfeature.NewDefaultFeatureSupportChecker()
	s, ctx := newStore(t), t.Context()
	var wg sync.WaitGroup
	for w := range 10 {
		wg.Go(func() {
			for i := w; i < pods; i += 10 {
				p := pod(fmt.Sprintf("p%04d", i))
				p.Labels = map[string]string{"filler": strings.Repeat("x", 4000)}
				if err := s.Create(ctx, podKey(p.Name), p, nil, 0); err != nil {
					t.Errorf("create: %v", err)
				}
			}
		})
	}
	wg.Wait()
	var want []string
	for i := range pods {
		want = append(want, fmt.Sprintf("p%04d", i))
	}
	check := func(what, at string, limit int64, want []string) string {
		t.Helper()
		l, err := list(ctx, s, at, limit)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := names(l); !slices.Equal(got, want) {
			t.Errorf("%s: %d pods, want %d", what, len(got), len(want))
		}
		return l.ResourceVersion
	}
	before := check("by stream", "", 0, want)
	if s.reads.GetStreamReadsAndReset() == 0 {
		t.Error("not one list was by RangeStream")
	}
	for i := 0; i < pods; i += 7 {
		if err := s.Delete(ctx, podKey(want[i]), &example.Pod{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	left := slices.Clone(want)
	left = slices.DeleteFunc(left, func(name string) bool { n, _ := strconv.Atoi(name[1:]); return n%7 == 0 })
	check("by stream after deletes", "", 0, left)
	check("by stream in pages", "", 90, left)
	check("by stream in the past", before, 0, want)
	if stats, err := s.Stats(ctx); err != nil || stats.ObjectCount != int64(len(left)) {
		t.Errorf("count: %+v, %v, want %d", stats, err, len(left))
	}
	old := &withoutStream{KV: s.client.KV}
	s.client.KV = old
	check("without RangeStream", "", 0, left)
	check("without RangeStream in the past", before, 0, want)
	check("without RangeStream in pages", "", 90, left)
	if old.asked != 1 || etcdfeature.DefaultFeatureSupportChecker.Supports(storage.RangeStream) {
		t.Errorf("RangeStream was tried %d times after it was found missing, want once", old.asked)
	}
}

// TestTooOld wants 410 from a watch and a list of compacted history, and the present from both.
func TestTooOld(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	first := create(ctx, t, s, "a", 0)
	for range 5 {
		if _, err := add(ctx, s, "a", nil); err != nil {
			t.Fatal(err)
		}
	}
	last := create(ctx, t, s, "b", 0)
	s.compact(ctx, t, last.ResourceVersion)
	w, err := s.Watch(ctx, "/pods/", storage.ListOptions{ResourceVersion: first.ResourceVersion, Recursive: true, Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	e := next(t, w)
	if st, ok := e.Object.(*metav1.Status); e.Type != watch.Error || !ok || st.Code != http.StatusGone || st.Reason != metav1.StatusReasonExpired {
		t.Errorf("a watch from the compacted past got %s %v, want 410", e.Type, e.Object)
	}
	if _, err := list(ctx, s, first.ResourceVersion, 0); err == nil || !strings.Contains(err.Error(), "too old") {
		t.Errorf("a list of the compacted past: %v, want too old", err)
	}
	if l, err := list(ctx, s, last.ResourceVersion, 0); err != nil || len(l.Items) != 2 {
		t.Errorf("a list at the compacted revision itself: %v, %v", l, err)
	}
}

func next(t *testing.T, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case e, ok := <-w.ResultChan():
		if !ok {
			t.Fatal("the watch ended")
		}
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("no event within 20 s")
	}
	return watch.Event{}
}

// TestCompactors runs the compactors of two API servers, which agree by transactions on a key who does it.
func TestCompactors(t *testing.T) {
	a, b, ctx := newStore(t), newStore(t), t.Context()
	first := create(ctx, t, a, "a", 0)
	rev, _ := a.Versioner().ParseResourceVersion(first.ResourceVersion)
	start, err := a.client.Client.KV.Get(ctx, "compact_rev_key")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*store{a, b} {
		c := etcd3.NewCompactor(s.client.Client, 300*time.Millisecond, clock.RealClock{}, nil)
		defer c.Stop()
	}
	eventually(t, 30*time.Second, "history to be compacted", func() bool {
		if _, err := add(ctx, b, "a", nil); err != nil {
			t.Fatal(err)
		}
		return a.CompactRevision() > int64(rev)+2 && b.CompactRevision() > int64(rev)+2
	})
	if _, err := list(ctx, a, first.ResourceVersion, 0); err == nil || !strings.Contains(err.Error(), "too old") {
		t.Errorf("a list of the compacted past: %v, want too old", err)
	}
	end, err := a.client.Client.KV.Get(ctx, "compact_rev_key")
	if err != nil || len(end.Kvs) != 1 || len(start.Kvs) == 1 && end.Kvs[0].Version <= start.Kvs[0].Version {
		t.Errorf("compact_rev_key was %v and is %v, %v: want a greater version", start.Kvs, end.Kvs, err)
	}
}

// TestRequestedProgress asks how far a quiet watch is, as a consistent read from the watch cache does, much more often than
// it is told on its own.
func TestRequestedProgress(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	etcdfeature.DefaultFeatureSupportChecker.CheckClient(ctx, s.client.Client, storage.RequestWatchProgress)
	eventually(t, 20*time.Second, "the version to be one that answers progress requests", func() bool {
		return etcdfeature.DefaultFeatureSupportChecker.Supports(storage.RequestWatchProgress)
	})
	first := create(ctx, t, s, "a", 0)
	w, err := s.Watch(ctx, "/pods/", storage.ListOptions{ResourceVersion: first.ResourceVersion, Recursive: true, ProgressNotify: true, Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	began := time.Now()
	const rounds = 40
	for range rounds {
		rev := s.raise(ctx, t)
		for reached := uint64(0); reached < uint64(rev); {
			if err := s.RequestWatchProgress(ctx); err != nil {
				t.Fatal(err)
			}
			e := next(t, w)
			if e.Type != watch.Bookmark {
				t.Fatalf("got %s %v, want a bookmark", e.Type, e.Object)
			}
			if reached, err = s.Versioner().ObjectResourceVersion(e.Object); err != nil {
				t.Fatal(err)
			}
			now, err := s.GetCurrentResourceVersion(ctx)
			if err != nil || reached > now {
				t.Fatalf("progress is %d, the store is at %d, %v", reached, now, err)
			}
		}
	}
	if took := time.Since(began); took > rounds*time.Second/2 {
		t.Errorf("%d answers took %s: that is the progress of every second, not of the requests", rounds, took)
	}
}

// TestEventsExpire gives objects the lives that Kubernetes gives its events. Long ones share leases.
func TestEventsExpire(t *testing.T) {
	s, ctx := newStore(t, etcd3.LeaseManagerConfig{ReuseDurationSeconds: 60, MaxObjectCount: 10}), t.Context()
	before, err := s.client.Leases(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var stays *example.Pod
	var want []string
	for i := range 20 {
		stays = create(ctx, t, s, fmt.Sprintf("stays%02d", i), 3600)
		want = append(want, stays.Name)
	}
	if now, err := s.client.Leases(ctx); err != nil || len(now.Leases)-len(before.Leases) > 10 {
		t.Errorf("%d leases before, %d with 20 objects, %v: want that they share some", len(before.Leases), len(now.Leases), err)
	}
	w, err := s.Watch(ctx, "/pods/", storage.ListOptions{ResourceVersion: stays.ResourceVersion, Recursive: true, Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	const events = 30
	for i := range events {
		create(ctx, t, s, fmt.Sprintf("event%d", i), 3)
	}
	count := map[watch.EventType]int{}
	for count[watch.Deleted] < events {
		count[next(t, w).Type]++
	}
	if count[watch.Added] != events || len(count) != 2 {
		t.Errorf("the watch got %v", count)
	}
	if l, err := list(ctx, s, "", 0); err != nil || !slices.Equal(names(l), want) {
		t.Errorf("left: %v, %v", l, err)
	}
}
