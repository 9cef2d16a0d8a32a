package store_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
	"geogate/replication/event"
)

// script applies short texts to a store: each line is a transaction, each word of it an operation: "k=v"
// puts, "k=v@7" puts with lease 7, "-k" deletes, "!k" buries, "compact:5" compacts. "$k=v", "$-k" and "$!k" do
// the same in the system table. Stamps count up.
type script struct {
	t     testing.TB
	s     *store.Store
	file  string
	stamp event.Stamp
	index uint64
}

func newScript(t testing.TB, options ...func(*store.Config)) *script {
	x := &script{t: t}
	x.s = storetest.New(t, append(options, func(c *store.Config) { x.file = c.Path })...)
	return x
}

// path is of the store's file.
func (x *script) path() string { return x.file }

// entry commits the lines as one batch.
func (x *script) entry(lines ...string) {
	x.t.Helper()
	b, err := x.s.Begin()
	if err != nil {
		x.t.Fatalf("begin: %v", err)
	}
	for _, line := range lines {
		b.NextTxn()
		for word := range strings.FieldsSeq(line) {
			x.op(b, word)
		}
	}
	x.index++
	b.Commit(store.Applied{Index: x.index, Term: 1})
}

func (x *script) op(b *store.Batch, word string) {
	x.t.Helper()
	x.stamp++
	g := store.Geo{Origin: "here", OriginRevision: b.Revision() + 1, Stamp: x.stamp}
	switch {
	case strings.HasPrefix(word, "compact:"):
		var rev int64
		fmt.Sscanf(word, "compact:%d", &rev)
		if err := b.Compact(rev); err != nil {
			x.t.Fatalf("%s: %v", word, err)
		}
	case strings.HasPrefix(word, "$-"):
		b.DeleteSystem(word[2:], g)
	case strings.HasPrefix(word, "$!"):
		b.BurySystem(word[2:], g)
	case word[0] == '$':
		name, value, _ := strings.Cut(word[1:], "=")
		b.PutSystem(name, []byte(value), g)
	case word[0] == '-':
		b.Delete([]byte(word[1:]), g)
	case word[0] == '!':
		b.Bury([]byte(word[1:]), g)
	default:
		key, value, _ := strings.Cut(word, "=")
		var lease int64
		if v, l, ok := strings.Cut(value, "@"); ok {
			value = v
			fmt.Sscan(l, &lease)
		}
		b.Put([]byte(key), []byte(value), lease, g)
	}
}

func (x *script) flush() {
	x.t.Helper()
	if err := x.s.Flush(); err != nil {
		x.t.Fatalf("flush: %v", err)
	}
}

// render shows keys as key=value/create.mod.version.
func render(kvs []*mvccpb.KeyValue) string {
	var out []string
	for _, kv := range kvs {
		out = append(out, fmt.Sprintf("%s=%s/%d.%d.%d", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version))
	}
	return strings.Join(out, " ")
}

func (x *script) at(rev int64) string {
	x.t.Helper()
	res, err := x.s.Range(store.RangeOptions{Key: []byte{0}, End: []byte{0}, Revision: rev})
	if err != nil {
		return err.Error()
	}
	return render(res.KVs)
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestRevisionsVersionsAndReadsInThePast(t *testing.T) {
	x := newScript(t)
	if r := x.s.Revision(); r != 1 {
		t.Fatalf("an empty store has revision %d", r)
	}
	x.entry("a=1", "", "a=2 b=1") // a line without a change takes no revision
	x.entry("-a")
	x.entry("a=3@9")
	x.flush()
	x.entry("a=4")
	for rev, want := range map[int64]string{
		1: "",
		2: "a=1/2.2.1",
		3: "a=2/2.3.2 b=1/3.3.1",
		4: "b=1/3.3.1",
		5: "a=3/5.5.1 b=1/3.3.1",
		6: "a=4/5.6.2 b=1/3.3.1",
		0: "a=4/5.6.2 b=1/3.3.1",
	} {
		if got := x.at(rev); got != want {
			t.Errorf("at %d: %q, want %q", rev, got, want)
		}
	}
	if _, err := x.s.Range(store.RangeOptions{Key: []byte("a"), Revision: 7}); !errors.Is(err, store.ErrFutureRev) {
		t.Errorf("read of the future: %v", err)
	}
	if x.s.Keys() != 2 {
		t.Errorf("%d keys", x.s.Keys())
	}
}

func TestRangeBounds(t *testing.T) {
	x := newScript(t)
	x.entry("a=1 ab=2 b=3 c=4")
	for _, flushed := range []bool{false, true} {
		if flushed {
			x.flush()
		}
		for _, c := range []struct{ key, end, want string }{
			{"a", "", "a"}, {"x", "", ""}, {"a", "b", "a ab"}, {"a", "\x00", "a ab b c"}, {"b", "\x00", "b c"},
			{"aa", "bb", "ab b"}, {"c", "a", ""}, {"d", "\x00", ""}, {"\x00", "\x00", "a ab b c"},
		} {
			res, err := x.s.Range(store.RangeOptions{Key: []byte(c.key), End: []byte(c.end)})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, kv := range res.KVs {
				got = append(got, string(kv.Key))
			}
			if g := strings.Join(got, " "); g != c.want || res.Count != int64(len(got)) || res.More {
				t.Errorf("[%q,%q) gives %q (count %d), want %q", c.key, c.end, g, res.Count, c.want)
			}
		}
		res, err := x.s.Range(store.RangeOptions{Key: []byte("a"), End: []byte{0}, Limit: 2, KeysOnly: true})
		if err != nil || len(res.KVs) != 2 || res.Count != 4 || !res.More || res.KVs[1].Value != nil {
			t.Errorf("limited: %+v, %v", res, err)
		}
		res, err = x.s.Range(store.RangeOptions{Key: []byte("a"), End: []byte{0}, CountOnly: true})
		if err != nil || len(res.KVs) != 0 || res.Count != 4 {
			t.Errorf("counted: %+v, %v", res, err)
		}
	}
}

func TestBatchSeesItself(t *testing.T) {
	x := newScript(t)
	x.entry("a=1 b=1")
	x.flush()
	b, err := x.s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	b.NextTxn()
	x.op(b, "a=2")
	x.op(b, "-b")
	x.op(b, "c=1")
	res, err := b.Range(store.RangeOptions{Key: []byte{0}, End: []byte{0}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := render(res.KVs), "a=2/2.3.2 c=1/3.3.1"; got != want {
		t.Errorf("the batch has %q, want %q", got, want)
	}
	res, err = b.Range(store.RangeOptions{Key: []byte{0}, End: []byte{0}, Revision: 2})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := render(res.KVs), "a=1/2.2.1 b=1/2.2.1"; got != want {
		t.Errorf("before the batch %q, want %q", got, want)
	}
	if h, ok := b.Head([]byte("b")); !ok || h.Live || h.Geo.Origin != "here" {
		t.Errorf("head of a deleted key: %+v, %v", h, ok)
	}
	if v, err := b.Get([]byte("b")); v != nil || err != nil {
		t.Errorf("get of a deleted key: %+v, %v", v, err)
	}
	b.Commit(store.Applied{Index: 2, Term: 1})
}

// The cases of etcd's compaction: what is left to read, and what a watch from the compacted revision gets.
func TestCompaction(t *testing.T) {
	history := []string{"a=1", "a=2 b=1", "-a", "a=3", "-b"} // revisions 2 to 6
	for _, c := range []struct {
		at    int64
		reads map[int64]string
		watch string // from at on
	}{
		{2, map[int64]string{1: "compacted", 2: "a=1/2.2.1", 3: "a=2/2.3.2 b=1/3.3.1"}, "a2 a3 b3 -a4 a5 -b6"},
		{3, map[int64]string{2: "compacted", 3: "a=2/2.3.2 b=1/3.3.1", 4: "b=1/3.3.1"}, "a3 b3 -a4 a5 -b6"},
		{4, map[int64]string{3: "compacted", 4: "b=1/3.3.1", 5: "a=3/5.5.1 b=1/3.3.1"}, "-a4 a5 -b6"},
		{5, map[int64]string{4: "compacted", 5: "a=3/5.5.1 b=1/3.3.1", 6: "a=3/5.5.1"}, "a5 -b6"},
		{6, map[int64]string{5: "compacted", 6: "a=3/5.5.1"}, "-b6"},
	} {
		for _, when := range []string{"pending", "flushed", "swept", "reopened"} {
			t.Run(fmt.Sprintf("at=%d/%s", c.at, when), func(t *testing.T) {
				cfg := store.Config{Path: filepath.Join(t.TempDir(), "db"), NoSync: true}
				x := &script{t: t, s: storetest.Open(t, cfg)}
				x.entry(history...)
				if when != "pending" {
					x.flush()
				}
				x.entry(fmt.Sprintf("compact:%d", c.at))
				if when == "swept" || when == "reopened" {
					x.flush()
				}
				if when == "reopened" {
					if err := x.s.Close(); err != nil {
						t.Fatal(err)
					}
					x.s = storetest.Open(t, cfg)
				}
				for rev, want := range c.reads {
					if got := x.at(rev); got != want && !(want == "compacted" && strings.Contains(got, want)) {
						t.Errorf("at %d: %q, want %q", rev, got, want)
					}
				}
				if got := x.events(c.at, strings.Count(c.watch, " ")+1); got != c.watch {
					t.Errorf("watch: %q, want %q", got, c.watch)
				}
				w := x.s.Watch(store.WatchOptions{Key: []byte("a"), Start: c.at - 1})
				defer w.Close()
				var gone store.ErrCompactedAt
				if _, err := w.Next(testContext(t)); !errors.As(err, &gone) || gone.Revision != c.at || !errors.Is(err, store.ErrCompacted) {
					t.Errorf("watch below the compacted revision: %v", err)
				}
			})
		}
	}
}

// events watches everything from a revision on until n events have come.
func (x *script) events(from int64, n int) string {
	x.t.Helper()
	w := x.s.Watch(store.WatchOptions{Key: []byte{0}, End: []byte{0}, Start: from})
	defer w.Close()
	var out []string
	for len(out) < n {
		ev, err := w.Next(testContext(x.t))
		if err != nil {
			x.t.Fatalf("watch from %d after %v: %v", from, out, err)
		}
		for _, e := range ev.Events {
			sign := ""
			if e.Type == mvccpb.Event_DELETE {
				sign = "-"
			}
			out = append(out, fmt.Sprintf("%s%s%d", sign, e.Kv.Key, e.Kv.ModRevision))
		}
	}
	return strings.Join(out, " ")
}

func TestCompactionBounds(t *testing.T) {
	x := newScript(t)
	x.entry("a=1", "a=2")
	b, err := x.s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Compact(4); !errors.Is(err, store.ErrFutureRev) {
		t.Errorf("compact of the future: %v", err)
	}
	if err := b.Compact(2); err != nil {
		t.Error(err)
	}
	if err := b.Compact(2); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("compact again: %v", err)
	}
	if b.Compacted() != 2 {
		t.Errorf("compacted at %d", b.Compacted())
	}
	b.Commit(store.Applied{Index: 2, Term: 1})
}

// A compaction that was not finished goes on after a restart, and it leaves nothing behind.
func TestCompactionIsResumed(t *testing.T) {
	cfg := store.Config{Path: filepath.Join(t.TempDir(), "db"), NoSync: true, CompactRecords: 7}
	x := &script{t: t, s: storetest.Open(t, cfg)}
	for i := range 100 {
		x.entry(fmt.Sprintf("a=%d", i), fmt.Sprintf("b=%d", i), "-b")
	}
	x.flush()
	x.entry(fmt.Sprintf("compact:%d", x.s.Revision()))
	x.flush() // persists the compaction and deletes seven versions
	if n := versionsOnDisk(t, x.s); n != 300-7 {
		t.Fatalf("%d versions on disk", n)
	}
	if err := x.s.Close(); err != nil { // seven more
		t.Fatal(err)
	}
	x.s = storetest.Open(t, cfg)
	storetest.Run(t, x.s)
	for versionsOnDisk(t, x.s) != 2 { // the newest a, and the tombstone at the compacted revision
		if testContext(t).Err() != nil {
			t.Fatal("compaction does not go on")
		}
	}
}

func versionsOnDisk(t testing.TB, s *store.Store) int {
	t.Helper()
	n, err := store.VersionsOnDisk(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestGraves(t *testing.T) {
	x := newScript(t)
	x.entry("a=1 b=1 c=1", "-a", "-b", "!n") // a's grave has origin revision 3, b's 4, n's 5
	x.flush()
	x.entry("compact:4") // takes a's tombstone, not the graves
	x.flush()
	heads := func() string {
		b, err := x.s.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { b.Commit(x.s.Applied()) }()
		var out []string
		for _, k := range []string{"a", "b", "c", "n"} {
			h, ok := b.Head([]byte(k))
			switch {
			case !ok:
				out = append(out, k+":unknown")
			case h.Live:
				out = append(out, k+":live")
			default:
				out = append(out, fmt.Sprintf("%s:%d/%d", k, h.Mod, h.Geo.OriginRevision))
			}
		}
		return strings.Join(out, " ")
	}
	if got, want := heads(), "a:0/3 b:4/4 c:live n:0/5"; got != want {
		t.Errorf("heads %q, want %q", got, want)
	}
	drop := func(most int, v event.Vector) {
		b, err := x.s.Begin()
		if err != nil {
			t.Fatal(err)
		}
		b.DropGraves(v, most)
		b.Commit(x.s.Applied())
	}
	drop(10, event.Vector{"elsewhere": 100, "here": 2})
	drop(1, event.Vector{"here": 4})
	if got, want := heads(), "a:unknown b:4/4 c:live n:0/5"; got != want {
		t.Errorf("after one was dropped %q, want %q", got, want)
	}
	x.entry("b=2")
	if got, want := heads(), "a:unknown b:live c:live n:0/5"; got != want {
		t.Errorf("after a put %q, want %q", got, want)
	}
	drop(10, event.Vector{"here": 100})
	if got, want := heads(), "a:unknown b:live c:live n:unknown"; got != want {
		t.Errorf("after all were dropped %q, want %q", got, want)
	}
}

func TestMisuseIsLoud(t *testing.T) {
	x := newScript(t)
	x.entry("a=1")
	for name, call := range map[string]func(*store.Batch){
		"delete of a key that is not live": func(b *store.Batch) { b.Delete([]byte("x"), store.Geo{Origin: "o"}) },
		"grave for a live key":             func(b *store.Batch) { b.Bury([]byte("a"), store.Geo{Origin: "o"}) },
	} {
		b, err := x.s.Begin()
		if err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			call(b)
		}()
		b.Commit(x.s.Applied())
	}
}

func TestAbortedBatchIsNeverRead(t *testing.T) {
	x := newScript(t)
	x.entry("a=1")
	x.flush()
	x.entry("a=2")
	b, err := x.s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	x.op(b, "a=3")
	cause := errors.New("unreadable entry")
	b.Abort(cause)
	if _, err := x.s.Begin(); !errors.Is(err, store.ErrBroken) || !errors.Is(err, cause) {
		t.Errorf("begin: %v", err)
	}
	if _, err := x.s.Range(store.RangeOptions{Key: []byte("a")}); !errors.Is(err, cause) {
		t.Errorf("range: %v", err)
	}
	if err := x.s.Flush(); !errors.Is(err, cause) {
		t.Errorf("flush: %v", err)
	}
	if err := x.s.Run(testContext(t)); !errors.Is(err, cause) {
		t.Errorf("run: %v", err)
	}
}

// The digest is of the data: neither the order in which writes of different keys came nor what was
// overwritten or deleted meanwhile matters, nor do local revisions.
func TestDigestIsOfTheDataOnly(t *testing.T) {
	type write struct {
		key, value string
		stamp      event.Stamp
		origin     string
	}
	writes := []write{
		{"a", "1", 10, "x"}, {"b", "2", 11, "y"}, {"a", "3", 12, "y"}, {"c", "4", 9, "x"}, {"c", "", 14, "y"}, {"b", "5", 13, "x"}, {"d", "6", 20, "x"},
	}
	digest := func(order []int, perTxn int) uint64 {
		s := storetest.New(t)
		b, err := s.Begin()
		if err != nil {
			t.Fatal(err)
		}
		for n, i := range order {
			if n%perTxn == 0 {
				b.NextTxn()
			}
			w := writes[i]
			g := store.Geo{Origin: w.origin, OriginRevision: int64(w.stamp) * 3, Stamp: w.stamp}
			h, known := b.Head([]byte(w.key))
			switch {
			case known && !event.Later(w.stamp, w.origin, h.Geo.Stamp, h.Geo.Origin):
			case w.value != "":
				b.Put([]byte(w.key), []byte(w.value), 0, g)
			case h.Live:
				b.Delete([]byte(w.key), g)
			default:
				b.Bury([]byte(w.key), g)
			}
		}
		b.Commit(store.Applied{Index: 1})
		return s.Digest()
	}
	want := digest([]int{0, 1, 2, 3, 4, 5, 6}, 1)
	for _, order := range [][]int{{6, 5, 4, 3, 2, 1, 0}, {4, 3, 2, 0, 6, 5, 1}, {1, 0, 5, 2, 6, 4, 3}} {
		for _, perTxn := range []int{1, 3} {
			if got := digest(order, perTxn); got != want {
				t.Errorf("order %v: digest %016x, want %016x", order, got, want)
			}
		}
	}
	if empty := storetest.New(t).Digest(); empty != 0 || want == 0 {
		t.Errorf("digests %x of nothing and %x of something", empty, want)
	}
}

func TestChangedIsClosedByCommit(t *testing.T) {
	x := newScript(t)
	c := x.s.Changed()
	select {
	case <-c:
		t.Fatal("closed before anything changed")
	default:
	}
	x.entry("a=1")
	<-c
}
