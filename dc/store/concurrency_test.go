package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
)

// Batches of two transactions move one unit from one key to another: every reader must see a sum of zero,
// every watcher both halves together, while flushes and compactions go on.
func TestReadersAndWatchersDuringBatches(t *testing.T) {
	s := storetest.New(t, func(c *store.Config) {
		c.FlushBytes, c.WatchBufferEvents, c.CompactRecords = 4<<10, 16, 32
	})
	storetest.Run(t, s)
	const batches = 300
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { readSums(ctx, t, s) })
	}
	wg.Go(func() { readPast(ctx, t, s) })
	var watchers sync.WaitGroup
	for i := range 4 {
		o := store.WatchOptions{Key: []byte("a"), End: []byte("c"), PrevKV: i == 1}
		if i >= 2 {
			o.Start = 2
		}
		w := s.Watch(o)
		watchers.Go(func() { watchSums(ctx, t, w, 1+2*batches) })
	}
	for i := range batches {
		move(t, s, i)
	}
	watchers.Wait()
	cancel()
	wg.Wait()
}

func move(t *testing.T, s *store.Store, i int) {
	b, err := s.Begin()
	if err != nil {
		t.Error(err)
		return
	}
	for j := range 2 {
		b.NextTxn()
		g := store.Geo{Origin: "o", OriginRevision: b.Revision() + 1}
		b.Put([]byte("a"), fmt.Append(nil, 2*i+j), 0, g)
		b.Put([]byte("b"), fmt.Append(nil, -(2*i+j)), 0, g)
	}
	if i > 50 && i%20 == 0 {
		if err := b.Compact(b.Revision() - 80); err != nil {
			t.Error(err)
		}
	}
	b.Commit(store.Applied{Index: uint64(i + 1)})
}

func sum(kvs []*mvccpb.KeyValue) (n int) {
	for _, kv := range kvs {
		var v int
		if _, err := fmt.Sscan(string(kv.Value), &v); err != nil {
			return -1
		}
		n += v
	}
	return n
}

func readSums(ctx context.Context, t *testing.T, s *store.Store) {
	last := int64(0)
	for ctx.Err() == nil {
		floor := s.Revision()
		res, err := s.Range(store.RangeOptions{Key: []byte("a"), End: []byte("c")})
		if err != nil || sum(res.KVs) != 0 {
			t.Errorf("read %v, %v", res.KVs, err)
			return
		}
		if res.Revision < max(last, floor) || (res.Revision-1)%2 != 0 {
			t.Errorf("read at revision %d, after %d and %d", res.Revision, last, floor)
			return
		}
		last = res.Revision
	}
}

func readPast(ctx context.Context, t *testing.T, s *store.Store) {
	for ctx.Err() == nil {
		rev := max(s.Revision()-60, 2)
		res, err := s.Range(store.RangeOptions{Key: []byte("a"), End: []byte("c"), Revision: rev})
		if errors.Is(err, store.ErrCompacted) || errors.Is(err, store.ErrFutureRev) {
			continue
		}
		if err != nil || len(res.KVs) != 2 || sum(res.KVs) != 0 || res.KVs[0].ModRevision != rev {
			t.Errorf("read at %d: %v, %v", rev, res.KVs, err)
			return
		}
		if _, err := s.Latest([]byte("a")); err != nil {
			t.Errorf("latest: %v", err)
			return
		}
	}
}

func watchSums(ctx context.Context, t *testing.T, w *store.Watcher, until int64) {
	defer w.Close()
	for last := int64(1); last < until; {
		ev, err := w.Next(ctx)
		if errors.Is(err, store.ErrCompacted) {
			return // it was too slow for the compactions: no gap, but an end
		}
		if err != nil {
			t.Errorf("watch behind %d: %v", last, err)
			return
		}
		for i, e := range ev.Events {
			if want := last + int64(1-i%2); e.Kv.ModRevision != want {
				t.Errorf("event at %d, want %d", e.Kv.ModRevision, want)
				return
			}
			last = e.Kv.ModRevision
		}
		if len(ev.Events)%2 != 0 || ev.Revision < last {
			t.Errorf("%d events, complete up to %d of %d", len(ev.Events), ev.Revision, last)
			return
		}
		if rev, _ := w.Progress(); rev < last {
			t.Errorf("progress %d behind delivered %d", rev, last)
			return
		}
	}
}
