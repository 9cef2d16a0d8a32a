package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
)

// TestAgainstModel drives a store and the model with the same random entries: with flushes, crashes,
// restarts and snapshots in between, reads at random revisions compared, and watchers that must get every
// event once and in order.
func TestAgainstModel(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 10
	}
	for range seeds {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			newRace(t, seed).run(150)
		})
	}
}

// race is one comparison.
type race struct {
	t       *testing.T
	rnd     *rand.Rand
	cfg     store.Config
	s       *store.Store
	m       *model
	entries []entry // entry i has log index i+1
	watches []*watched
}

func newRace(t *testing.T, seed uint64) *race {
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := &race{t: t, rnd: rnd, m: newModel(), cfg: store.Config{
		Path: filepath.Join(t.TempDir(), "db"), NoSync: true, CompactRecords: 1 + rnd.IntN(5),
		WatchBufferEvents: 1 + rnd.IntN(8), ConflictLogSize: 3,
		FlushBytes: 1 << 10, MaxPendingBytes: 1 << (10 + rnd.IntN(10)),
	}}
	r.open()
	return r
}

func (r *race) open() {
	var err error
	if r.s, err = store.Open(r.cfg); err != nil {
		r.t.Fatalf("open: %v", err)
	}
}

func (r *race) run(steps int) {
	defer func() {
		if r.s != nil {
			storetest.Verify(r.t, r.s, r.cfg)
		}
	}()
	for range steps {
		switch n := r.rnd.IntN(40); {
		case n < 22:
			r.apply(r.m.generate(r.rnd, 12))
		case n < 26:
			r.flush()
		case n < 29:
			r.watch()
		case n == 30:
			r.restart(r.rnd.IntN(2) == 0)
		case n == 31:
			r.snapshot()
		default:
			r.read()
		}
		if r.t.Failed() {
			return
		}
	}
	r.compareState()
	for _, w := range r.watches {
		w.finish()
	}
}

func (r *race) apply(e entry) {
	r.entries = append(r.entries, e)
	r.replay(len(r.entries) - 1)
	if r.s.Revision() != r.m.rev || r.s.Compacted() != r.m.compacted {
		r.t.Fatalf("revision %d compacted %d, want %d and %d", r.s.Revision(), r.s.Compacted(), r.m.rev, r.m.compacted)
	}
}

func (r *race) replay(i int) {
	b, err := r.s.Begin()
	if err != nil {
		r.t.Fatalf("begin: %v", err)
	}
	if err := r.entries[i].run(b); err != nil {
		b.Abort(err)
		r.t.Fatalf("entry %d: %v", i, err)
	}
	defer b.Commit(store.Applied{Index: uint64(i + 1), Term: 1})
	r.readInBatch(b, i == len(r.entries)-1)
}

// readInBatch looks at a key of the batch; after a crash the batch is of the past, and only what does not
// depend on the model is compared.
func (r *race) readInBatch(b *store.Batch, newest bool) {
	key := fmt.Sprintf("k%02d", r.rnd.IntN(12))
	h, known := b.Head([]byte(key))
	v, err := b.Get([]byte(key))
	if err != nil {
		r.t.Fatalf("get: %v", err)
	}
	if (v != nil) != (known && h.Live) {
		r.t.Fatalf("head of %s is %+v, get gives %+v", key, h, v)
	}
	if v != nil && (v.Mod != h.Mod || v.Create != h.Create || v.Version != h.Version || v.Lease != h.Lease || v.Geo.Stamp != h.Geo.Stamp) {
		r.t.Fatalf("head %+v and version %+v differ", h, v)
	}
	if known {
		if want := fmt.Sprintf("seen %d", h.Geo.Stamp); string(b.Seen([]byte(key))) != want {
			r.t.Fatalf("seen of %s is %q, want %q", key, b.Seen([]byte(key)), want)
		}
	}
	if !newest {
		return
	}
	res, err := b.Range(store.RangeOptions{Key: []byte("k"), End: []byte("l")})
	if err != nil {
		r.t.Fatalf("range in batch: %v", err)
	}
	r.sameKVs(res.KVs, r.m.rangeAt([]byte("k"), []byte("l"), r.m.rev), false)
	g, grave := r.m.graves[key]
	live := r.m.at(key, r.m.rev)
	switch {
	case known != (grave || live != nil):
		r.t.Fatalf("head of %s known is %v, grave %v, live %v", key, known, grave, live != nil)
	case grave && (h.Live || h.Geo.Stamp != g.Stamp || h.Geo.Origin != g.Origin || h.Geo.OriginRevision != g.OriginRevision):
		r.t.Fatalf("grave of %s is %+v, want %+v", key, h, g)
	}
}

func (r *race) flush() {
	if err := r.s.Flush(); err != nil {
		r.t.Fatalf("flush: %v", err)
	}
}

// restart closes the store or kills it; then the log is replayed from where the file is.
func (r *race) restart(crash bool) {
	for _, w := range r.watches {
		w.stop()
	}
	r.watches = nil
	durable := r.s.Durable().Index
	if crash {
		r.s.Kill()
	} else {
		durable = uint64(len(r.entries))
	}
	if err := r.s.Close(); err != nil {
		r.t.Fatalf("close: %v", err)
	}
	r.open()
	if got := r.s.Durable().Index; got != durable {
		r.t.Fatalf("durable index is %d after reopening, was %d", got, durable)
	}
	r.catchUp()
}

func (r *race) catchUp() {
	for i := int(r.s.Applied().Index); i < len(r.entries); i++ {
		r.replay(i)
	}
	r.compareState()
}

// snapshot restores an older state of the store into itself and replays the rest, as a replica does that
// was given a snapshot; its watchers must not notice.
func (r *race) snapshot() {
	at, size, rc, err := r.s.Snapshot()
	if err != nil {
		r.t.Fatalf("snapshot: %v", err)
	}
	var buf bytes.Buffer
	if n, err := buf.ReadFrom(rc); err != nil || n != size {
		r.t.Fatalf("snapshot has %d bytes, said %d (%v)", n, size, err)
	}
	if err := rc.Close(); err != nil {
		r.t.Fatal(err)
	}
	for _, w := range r.watches {
		w.stop() // the test goes back in time, which a replica never does
	}
	r.watches = nil
	if err := r.s.Restore(at, &buf); err != nil {
		r.t.Fatalf("restore: %v", err)
	}
	r.catchUp()
}

func (r *race) compareState() {
	r.t.Helper()
	if r.s.Revision() != r.m.rev || r.s.Compacted() != r.m.compacted {
		r.t.Fatalf("revision %d compacted %d, want %d and %d", r.s.Revision(), r.s.Compacted(), r.m.rev, r.m.compacted)
	}
	for _, k := range []string{"m0", "m1", "m2"} {
		if got := string(r.s.Meta(k)); got != r.m.meta[k] {
			r.t.Fatalf("meta %s is %q, want %q", k, got, r.m.meta[k])
		}
	}
	got, total := r.s.Conflicts(10)
	want := slices.Clone(r.m.conflicts[max(0, len(r.m.conflicts)-3):])
	slices.Reverse(want)
	if total != uint64(len(r.m.conflicts)) || !slices.EqualFunc(got, want, bytes.Equal) {
		r.t.Fatalf("conflicts %q of %d, want %q of %d", got, total, want, len(r.m.conflicts))
	}
	if err := r.s.Check(); err != nil {
		r.t.Fatalf("not sound: %v", err)
	}
}

func (r *race) span() (key, end []byte) {
	a, b := fmt.Sprintf("k%02d", r.rnd.IntN(12)), fmt.Sprintf("k%02d", r.rnd.IntN(13))
	switch r.rnd.IntN(4) {
	case 0:
		return []byte(a), nil
	case 1:
		return []byte(a), []byte{0}
	case 2:
		return []byte{0}, []byte{0}
	}
	return []byte(a), []byte(b)
}

func (r *race) read() {
	key, end := r.span()
	o := store.RangeOptions{Key: key, End: end, KeysOnly: r.rnd.IntN(4) == 0, CountOnly: r.rnd.IntN(6) == 0}
	at := r.m.rev
	if r.rnd.IntN(3) > 0 {
		o.Revision = r.rnd.Int64N(r.m.rev+2) + 1
		at = o.Revision
	}
	if r.rnd.IntN(3) == 0 {
		o.Limit = int64(1 + r.rnd.IntN(4))
	}
	res, err := r.s.Range(o)
	switch {
	case o.Revision > 0 && o.Revision < r.m.compacted:
		if !errors.Is(err, store.ErrCompacted) {
			r.t.Fatalf("range at %d below %d: %v", o.Revision, r.m.compacted, err)
		}
		return
	case o.Revision > r.m.rev:
		if !errors.Is(err, store.ErrFutureRev) {
			r.t.Fatalf("range at %d above %d: %v", o.Revision, r.m.rev, err)
		}
		return
	case err != nil:
		r.t.Fatalf("range %+v: %v", o, err)
	}
	want := r.m.rangeAt(key, end, at)
	if res.Count != int64(len(want)) || res.Revision != r.m.rev {
		r.t.Fatalf("range %+v counts %d at %d, want %d at %d", o, res.Count, res.Revision, len(want), r.m.rev)
	}
	if o.CountOnly {
		want = nil
	} else if o.Limit > 0 && int64(len(want)) > o.Limit {
		want = want[:o.Limit]
		if !res.More {
			r.t.Fatalf("range %+v says there are no more", o)
		}
	}
	r.sameKVs(res.KVs, want, o.KeysOnly)
}

func (r *race) sameKVs(got []*mvccpb.KeyValue, want []*store.Version, keysOnly bool) {
	r.t.Helper()
	if len(got) != len(want) {
		r.t.Fatalf("%d keys, want %d", len(got), len(want))
	}
	for i := range got {
		w := want[i].KeyValue()
		if keysOnly {
			w.Value = nil
		}
		if got[i].String() != w.String() {
			r.t.Fatalf("got %v, want %v", got[i], w)
		}
	}
}

func (r *race) watch() {
	key, end := r.span()
	o := store.WatchOptions{Key: key, End: end, PrevKV: r.rnd.IntN(3) == 0, NoPut: r.rnd.IntN(8) == 0, NoDelete: r.rnd.IntN(8) == 0}
	from := r.m.rev + 1
	if r.rnd.IntN(3) > 0 {
		o.Start = 1 + r.rnd.Int64N(r.m.rev+3)
		if r.rnd.IntN(3) == 0 {
			o.Start = max(r.m.compacted, 1)
		}
		from = o.Start
	}
	w := &watched{r: r, o: o, from: from, compactedAtStart: r.m.compacted, w: r.s.Watch(o)}
	w.changed.L = &w.mu
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.done = cancel, make(chan struct{})
	go w.consume(ctx)
	r.watches = append(r.watches, w)
}

// watched is a watcher and what it got.
type watched struct {
	r                *race
	o                store.WatchOptions
	from             int64
	compactedAtStart int64
	w                *store.Watcher
	cancel           context.CancelFunc
	done             chan struct{}

	mu      sync.Mutex
	changed sync.Cond
	got     []store.WatchEvents
	err     error
}

func (w *watched) consume(ctx context.Context) {
	defer close(w.done)
	for {
		ev, err := w.w.Next(ctx)
		w.mu.Lock()
		if err != nil {
			w.err = err
		} else {
			w.got = append(w.got, ev)
		}
		w.changed.Broadcast()
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// finish waits until the watcher is up to date, and compares.
func (w *watched) finish() {
	want := w.r.m.history(w.o, w.from)
	timer := time.AfterFunc(20*time.Second, w.cancel)
	w.mu.Lock()
	for w.err == nil && w.count() < len(want) {
		w.changed.Wait()
	}
	w.mu.Unlock()
	if timer.Stop() {
		w.stop()
	}
}

func (w *watched) count() int {
	n := 0
	for _, e := range w.got {
		n += len(e.Events)
	}
	return n
}

// stop ends the watcher. What it got must be the beginning of what it should get, in whole revisions.
func (w *watched) stop() {
	t := w.r.t
	w.cancel()
	<-w.done
	w.w.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	want := w.r.m.history(w.o, w.from)
	var compacted store.ErrCompactedAt
	switch {
	case errors.As(w.err, &compacted):
		if compacted.Revision <= w.from {
			t.Fatalf("watch from %d ended with %v", w.from, w.err)
		}
	case !errors.Is(w.err, context.Canceled):
		t.Fatalf("watch ended with %v", w.err)
	case w.compactedAtStart > w.from:
		if len(w.got) > 0 {
			t.Fatalf("watch from %d got events below compacted %d", w.from, w.compactedAtStart)
		}
	}
	last := int64(0)
	i := 0
	for _, e := range w.got {
		for _, ev := range e.Events {
			if i == len(want) {
				t.Fatalf("watch %+v got an event too many: %v", w.o, ev)
			}
			w.same(ev, &want[i])
			i++
		}
		if first := e.Events[0].Kv.ModRevision; first <= last {
			t.Fatalf("watch %+v: revision %d is split", w.o, first)
		}
		last = e.Events[len(e.Events)-1].Kv.ModRevision
		if e.Revision < last {
			t.Fatalf("watch %+v: events up to %d, complete up to %d", w.o, last, e.Revision)
		}
		if i < len(want) && want[i].Mod <= e.Revision {
			t.Fatalf("watch %+v is said to be complete up to %d and lacks %d", w.o, e.Revision, want[i].Mod)
		}
	}
}

func (w *watched) same(got *mvccpb.Event, want *store.Version) {
	t := w.r.t
	kv := &mvccpb.KeyValue{Key: want.Key, ModRevision: want.Mod}
	kind := mvccpb.Event_DELETE
	if !want.Deleted {
		kv, kind = want.KeyValue(), mvccpb.Event_PUT
	}
	if got.Type != kind || got.Kv.String() != kv.String() {
		t.Fatalf("watch %+v got %v, want %v", w.o, got, kv)
	}
	prev := w.r.m.at(string(want.Key), want.Mod-1)
	switch {
	case !w.o.PrevKV || prev == nil:
		if got.PrevKv != nil {
			t.Fatalf("watch %+v got %v with a previous version", w.o, got)
		}
	case got.PrevKv == nil:
		if want.Mod-1 >= w.r.m.compacted {
			t.Fatalf("watch %+v got %v without the previous version", w.o, got)
		}
	case got.PrevKv.String() != prev.KeyValue().String():
		t.Fatalf("watch %+v got previous %v, want %v", w.o, got.PrevKv, prev.KeyValue())
	}
}
