//go:build linux

package main

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"geogate/test/faults/check"
)

// watcher watches all keys of a datacenter with an etcd client, which reconnects by itself.
type watcher struct {
	name   string
	dc     string
	after  int64 // the revision behind which it begins
	client *clientv3.Client

	mu     sync.Mutex
	seen   []check.Event // guarded by mu, as below
	opened int           // watches; more than one when the server ended some
}

func newWatcher(c *cluster, name, dc string, nodes ...*node) (*watcher, error) {
	client, err := c.client(nodes...)
	if err != nil {
		return nil, err
	}
	return &watcher{name: name, dc: dc, client: client}, nil
}

// run watches until ctx ends, and goes on after the last revision it saw when the server ends a watch.
func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		w.mu.Lock()
		w.opened++
		w.mu.Unlock()
		wctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		for resp := range w.client.Watch(wctx, "", clientv3.WithPrefix(), clientv3.WithRev(w.revision()+1)) {
			w.record(resp.Events)
		}
		cancel()
		pauseFor(ctx, failurePause)
	}
}

func (w *watcher) record(events []*clientv3.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range events {
		seen := check.Event{Revision: e.Kv.ModRevision, Key: string(e.Kv.Key), Delete: e.Type == clientv3.EventTypeDelete}
		if !seen.Delete {
			seen.Value = xxhash.Sum64(e.Kv.Value)
		}
		w.seen = append(w.seen, seen)
	}
}

// revision is that of the last event.
func (w *watcher) revision() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		return w.after
	}
	return w.seen[len(w.seen)-1].Revision
}

// reach waits until the watcher has seen a revision, and returns all it saw.
func (w *watcher) reach(ctx context.Context, revision int64, within time.Duration) []check.Event {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for w.revision() < revision && ctx.Err() == nil {
		pauseFor(ctx, 20*time.Millisecond)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// watchers are one for each node, that knows no other node, and one for each datacenter that knows all.
func (c *cluster) watchers() (out []*watcher, err error) {
	add := func(name, dc string, nodes ...*node) {
		w, werr := newWatcher(c, name, dc, nodes...)
		if werr != nil {
			err = fmt.Errorf("watcher of %s: %w", name, werr)
			return
		}
		out = append(out, w)
	}
	for _, dc := range c.holding() {
		for _, n := range c.in(dc) {
			add(n.String(), dc, n)
		}
		if len(c.in(dc)) > 1 {
			add(dc, dc, c.in(dc)...)
		}
	}
	return out, err
}

// leastSeen is the revision up to which all watchers of a datacenter have come.
func leastSeen(watchers []*watcher, dc string) int64 {
	least := int64(math.MaxInt64)
	for _, w := range watchers {
		if w.dc == dc {
			least = min(least, w.revision())
		}
	}
	return least
}
