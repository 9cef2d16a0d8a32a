package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
	"geogate/replication/event"
)

// chainOf seals n frames of two transactions each: revisions 1-2, 3-4 and so on.
func chainOf(t testing.TB, origin string, incarnation uint64, n int) []event.Sealed {
	t.Helper()
	var out []event.Sealed
	f := event.Frame{Origin: origin, Incarnation: incarnation}
	for i := range n {
		r := int64(2*i + 1)
		f.Txns = nil
		for j := range int64(2) {
			f.Txns = append(f.Txns, event.Txn{Revision: r + j, Stamp: event.Stamp((r + j) << 20), Ops: []event.Op{
				{Kind: event.OpPut, Key: []byte("k"), Value: fmt.Appendf(nil, "%0100d", r+j)},
			}})
		}
		s, err := event.Seal(&f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
		f.PrevRevision, f.PrevHash = s.Last, s.Hash
	}
	return out
}

func (x *script) chain(call func(b *store.Batch)) {
	x.t.Helper()
	b, err := x.s.Begin()
	if err != nil {
		x.t.Fatal(err)
	}
	call(b)
	x.index++
	b.Commit(store.Applied{Index: x.index, Term: 1})
}

func (x *script) frames(origin string, after int64, maxBytes int) string {
	x.t.Helper()
	got, err := x.s.Frames(origin, after, maxBytes)
	if errors.Is(err, store.ErrTrimmed) {
		return "trimmed"
	}
	if err != nil {
		x.t.Fatal(err)
	}
	out := ""
	for _, s := range got {
		out += fmt.Sprintf("%d-%d ", s.First, s.Last)
		if _, again, err := event.Open(s.Bytes); err != nil || again.Hash != s.Hash || again.Stamp != s.Stamp ||
			again.PrevHash != s.PrevHash || again.Txns != s.Txns || again.Incarnation != s.Incarnation || again.PrevRevision != s.PrevRevision {
			x.t.Fatalf("frame %+v does not say what its bytes say, %+v (%v)", s, again, err)
		}
	}
	return out
}

func (x *script) backlog(origin string, after int64) string {
	x.t.Helper()
	b, err := x.s.Backlog(origin, after)
	if errors.Is(err, store.ErrTrimmed) {
		return "trimmed"
	}
	if err != nil {
		x.t.Fatal(err)
	}
	if b.Txns == 0 {
		return "none"
	}
	return fmt.Sprintf("%d txns, %d bytes, since %d", b.Txns, b.Bytes, b.Oldest.UnixMilli())
}

func (x *script) expectFrames(after int64, maxBytes int, want string) {
	x.t.Helper()
	if got := x.frames("o", after, maxBytes); got != want {
		x.t.Errorf("frames behind %d in %d bytes: %q, want %q", after, maxBytes, got, want)
	}
}

func TestChain(t *testing.T) {
	cfg := store.Config{Path: filepath.Join(t.TempDir(), "db"), NoSync: true}
	x := &script{t: t, s: storetest.Open(t, cfg)}
	x.expectFrames(0, 1000, "")
	frames := chainOf(t, "o", 7, 5)
	size := len(frames[1].Bytes)
	x.chain(func(b *store.Batch) {
		b.AppendFrame(frames[0])
		b.AppendFrame(frames[1])
	})
	look := func() {
		t.Helper()
		x.expectFrames(0, 1, "1-2 ")
		x.expectFrames(0, 1<<20, "1-2 3-4 5-6 7-8 ")
		x.expectFrames(2, 2*size, "3-4 5-6 ")
		x.expectFrames(6, 1<<20, "7-8 ")
		x.expectFrames(8, 1<<20, "")
		x.expectFrames(9, 1<<20, "")
		if got, want := x.backlog("o", 4), fmt.Sprintf("4 txns, %d bytes, since %d", 2*size, frames[2].Stamp.Time().UnixMilli()); got != want {
			t.Errorf("backlog %q, want %q", got, want)
		}
		if got := x.backlog("o", 8); got != "none" {
			t.Errorf("backlog at the head: %q", got)
		}
	}
	x.flush()
	x.chain(func(b *store.Batch) {
		b.AppendFrame(frames[2])
		b.AppendFrame(frames[3])
	})
	look() // half on disk, half pending
	x.flush()
	look()
	reopen := func() {
		t.Helper()
		if err := x.s.Close(); err != nil {
			t.Fatal(err)
		}
		x.s = storetest.Open(t, cfg)
	}
	reopen()
	look()
	x.chain(func(b *store.Batch) { b.TrimFrames("o", 5) }) // the frame 5-6 is not wholly confirmed
	trimmed := func() {
		t.Helper()
		x.expectFrames(0, 1<<20, "trimmed")
		x.expectFrames(3, 1<<20, "trimmed")
		x.expectFrames(4, 1<<20, "5-6 7-8 ")
		if got := x.backlog("o", 3); got != "trimmed" {
			t.Errorf("backlog of what is not kept: %q", got)
		}
		if got, want := x.backlog("o", 4), fmt.Sprintf("4 txns, %d bytes, since %d", 2*size, frames[2].Stamp.Time().UnixMilli()); got != want {
			t.Errorf("backlog %q, want %q", got, want)
		}
	}
	trimmed()
	reopen()
	trimmed()
	x.chain(func(b *store.Batch) { b.TrimFrames("o", 100) })
	x.expectFrames(6, 1<<20, "trimmed")
	x.expectFrames(8, 1<<20, "")
	reopen()
	x.expectFrames(6, 1<<20, "trimmed")
	x.chain(func(b *store.Batch) { b.AppendFrame(frames[4]) })
	x.expectFrames(8, 1<<20, "9-10 ")
}

// A frame that is trimmed before the flush never reaches the disk, and its chain goes on there.
func TestTrimmedFramesAreNotWritten(t *testing.T) {
	cfg := store.Config{Path: filepath.Join(t.TempDir(), "db"), NoSync: true}
	x := &script{t: t, s: storetest.Open(t, cfg)}
	frames := chainOf(t, "o", 7, 3)
	x.chain(func(b *store.Batch) {
		b.AppendFrame(frames[0])
		b.AppendFrame(frames[1])
	})
	x.chain(func(b *store.Batch) { b.TrimFrames("o", frames[1].Last) })
	x.flush()
	if n, err := store.FramesOnDisk(x.s, "o"); n != 0 || err != nil {
		t.Fatalf("%d frames on disk (%v)", n, err)
	}
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	x.s = storetest.Open(t, cfg)
	x.expectFrames(0, 1<<20, "trimmed")
	x.chain(func(b *store.Batch) { b.AppendFrame(frames[2]) })
	x.expectFrames(4, 1<<20, "5-6 ")
	x.flush()
	if n, err := store.FramesOnDisk(x.s, "o"); n != 1 || err != nil {
		t.Fatalf("%d frames on disk (%v)", n, err)
	}
}

func TestAnotherIncarnationStartsTheChainAnew(t *testing.T) {
	cfg := store.Config{Path: filepath.Join(t.TempDir(), "db"), NoSync: true}
	x := &script{t: t, s: storetest.Open(t, cfg)}
	first, second := chainOf(t, "o", 7, 3), chainOf(t, "o", 8, 2)
	x.chain(func(b *store.Batch) {
		for _, f := range first {
			b.AppendFrame(f)
		}
	})
	x.flush()
	x.chain(func(b *store.Batch) { b.AppendFrame(second[0]) })
	look := func() {
		t.Helper()
		got, err := x.s.Frames("o", 0, 1<<20)
		if err != nil || len(got) != 1 || got[0].Incarnation != 8 {
			t.Fatalf("%d frames (%v)", len(got), err)
		}
		if got, want := x.backlog("o", 0), fmt.Sprintf("2 txns, %d bytes, since %d", len(second[0].Bytes), second[0].Stamp.Time().UnixMilli()); got != want {
			t.Errorf("backlog %q, want %q", got, want)
		}
	}
	look()
	x.flush()
	look()
	if n, err := store.FramesOnDisk(x.s, "o"); n != 1 || err != nil {
		t.Fatalf("%d frames on disk (%v)", n, err)
	}
	// A jump, as after a snapshot of the origin, leaves nothing before it.
	later := chainOf(t, "o", 8, 5)[4]
	x.chain(func(b *store.Batch) { b.AppendFrame(later) })
	x.expectFrames(2, 1<<20, "trimmed")
	x.expectFrames(8, 1<<20, "9-10 ")
}

// Trimming much takes several flushes and is taken up again after a restart.
func TestTrimIsBoundedAndResumed(t *testing.T) {
	cfg := store.Config{Path: filepath.Join(t.TempDir(), "db"), NoSync: true, CompactRecords: 3}
	x := &script{t: t, s: storetest.Open(t, cfg)}
	x.chain(func(b *store.Batch) {
		for _, f := range chainOf(t, "o", 7, 20) {
			b.AppendFrame(f)
		}
	})
	x.flush()
	x.chain(func(b *store.Batch) { b.TrimFrames("o", 38) })
	x.flush()
	onDisk := func() int {
		t.Helper()
		n, err := store.FramesOnDisk(x.s, "o")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := onDisk(); n != 17 {
		t.Fatalf("%d frames on disk after one flush", n)
	}
	x.s.Kill()
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	x.s = storetest.Open(t, cfg)
	x.expectFrames(38, 1<<20, "39-40 ")
	for want := 14; want > 0; want -= 3 {
		x.entry("a=1")
		x.flush()
		if n := onDisk(); n != max(want, 1) {
			t.Fatalf("%d frames on disk, want %d", n, want)
		}
	}
}
