package store_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
)

// A crash leaves what Durable said last, and nothing of what came after.
func TestCrashLeavesWhatIsDurable(t *testing.T) {
	cfg := store.Config{Path: filepath.Join(t.TempDir(), "db"), NoSync: true}
	x := &script{t: t, s: storetest.Open(t, cfg)}
	x.entry("a=1 b=1", "-b")
	x.chain(func(b *store.Batch) {
		b.SetMeta("m", []byte("durable"))
		b.Conflict([]byte("first"))
	})
	x.flush()
	at, digest, rev := x.s.Durable(), x.s.Digest(), x.s.Revision()
	if at.Index != 2 || at.Term != 1 {
		t.Fatalf("durable at %+v", at)
	}
	x.entry("a=2", "b=2", "compact:3")
	x.chain(func(b *store.Batch) {
		b.SetMeta("m", nil)
		b.Conflict([]byte("second"))
		b.AppendFrame(chainOf(t, "o", 1, 1)[0])
	})
	if x.s.Durable().Index != 2 || x.s.Applied().Index != 4 {
		t.Fatalf("durable at %+v, applied %+v", x.s.Durable(), x.s.Applied())
	}
	x.s.Kill()
	if _, err := x.s.Begin(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("begin after the crash: %v", err)
	}
	if err := x.s.Run(t.Context()); err != nil {
		t.Errorf("run after the crash: %v", err)
	}
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	x.s = storetest.Open(t, cfg)
	if got := x.s.Durable(); got.Index != at.Index || got.Term != at.Term {
		t.Errorf("opened at %+v, want %+v", got, at)
	}
	if x.s.Digest() != digest || x.s.Revision() != rev || x.s.Compacted() != 0 || string(x.s.Meta("m")) != "durable" {
		t.Errorf("digest %x, revision %d, compacted %d, meta %q", x.s.Digest(), x.s.Revision(), x.s.Compacted(), x.s.Meta("m"))
	}
	if got := x.at(0); got != "a=1/2.2.1" {
		t.Errorf("data %q", got)
	}
	if c, total := x.s.Conflicts(5); total != 1 || len(c) != 1 {
		t.Errorf("%d conflicts of %d", len(c), total)
	}
	x.expectFrames(0, 1<<20, "")
}

// Begin waits while too much is pending, and what is pending stays within the bound and one batch.
func TestPendingBytesAreBounded(t *testing.T) {
	const bound = 64 << 10
	x := newScript(t, func(c *store.Config) { c.FlushBytes, c.MaxPendingBytes = bound/4, bound })
	storetest.Run(t, x.s)
	for i := range 2000 {
		x.entry(fmt.Sprintf("k%d=%01000d", i, i))
		if n := store.PendingBytes(x.s); n > bound+4<<10 {
			t.Fatalf("%d bytes pending", n)
		}
	}
}

// After a flush has failed nothing more is taken, and what was committed in memory can still be read.
func TestFailedFlushIsSticky(t *testing.T) {
	x := newScript(t, func(c *store.Config) { c.FlushBytes, c.MaxPendingBytes = 1<<10, 1<<20 })
	x.entry("a=1")
	x.flush()
	store.LimitFile(x.s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- x.s.Run(ctx) }()
	var err error
	for i := 0; err == nil; i++ {
		var b *store.Batch
		if b, err = x.s.Begin(); err == nil {
			b.NextTxn()
			x.op(b, fmt.Sprintf("k%d=%0100000d", i, i))
			b.Commit(store.Applied{Index: uint64(i + 2)})
		}
	}
	if !errors.Is(err, store.ErrBroken) {
		t.Errorf("begin: %v", err)
	}
	if err := <-failed; !errors.Is(err, store.ErrBroken) {
		t.Errorf("run: %v", err)
	}
	if err := x.s.Flush(); !errors.Is(err, store.ErrBroken) {
		t.Errorf("flush: %v", err)
	}
	res, err := x.s.Range(store.RangeOptions{Key: []byte("k0")})
	if err != nil || len(res.KVs) != 1 {
		t.Errorf("read: %v, %v", res, err)
	}
	if x.s.Durable().Index != 1 {
		t.Errorf("durable at %d", x.s.Durable().Index)
	}
}

// Readers and flushes do not wait for an open snapshot, and it stays what it was.
func TestSnapshotBlocksNothing(t *testing.T) {
	x := newScript(t)
	x.entry("a=1")
	x.flush()
	at, _, rc, err := x.s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		x.entry(fmt.Sprintf("k%d=%0100000d", i, i))
		x.flush()
	}
	other := storetest.New(t)
	if err := other.Restore(at, rc); err != nil {
		t.Fatal(err)
	}
	if err := rc.Close(); err != nil {
		t.Error(err)
	}
	y := &script{t: t, s: other}
	if got := y.at(0); got != "a=1/2.2.1" {
		t.Errorf("snapshot has %q", got)
	}
}
