package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
)

// bloat leaves a file that is mostly free pages.
func (x *script) bloat() {
	x.t.Helper()
	for i := range 50 {
		var line strings.Builder
		for j := range 50 {
			fmt.Fprintf(&line, "k%02d=%s%d ", j, strings.Repeat("v", 500), i)
		}
		x.entry(line.String())
		x.flush()
	}
	x.entry(fmt.Sprintf("compact:%d", x.s.Revision()))
	for range 3 {
		x.flush()
		x.entry("tick=1")
	}
	x.flush()
}

func TestDefragmentMakesTheFileSmaller(t *testing.T) {
	x := newScript(t)
	x.bloat()
	x.entry("pending=1") // not flushed
	before, digest, all := x.s.DBSize(), x.s.Digest(), x.at(0)
	if err := x.s.Defragment(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if after := x.s.DBSize(); after > before/4 {
		t.Errorf("the file had %d bytes and has %d", before, after)
	}
	if x.s.Digest() != digest || x.at(0) != all {
		t.Error("the data is another one")
	}
	x.entry("later=1")
	x.flush()
	if _, err := os.Stat(x.path() + ".defrag"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the other file is still there: %v", err)
	}
}

// Defragmentations under writes, deletes, compactions, chains and flushes lose nothing; storetest compares what
// the file has with what memory has.
func TestDefragmentUnderWrites(t *testing.T) {
	for name, pending := range map[string]int64{"with room": 0, "with next to none": 1} {
		writes := 3000
		if pending > 0 {
			writes = 60 // each waits for a flush, and flushes wait for the copy
		}
		t.Run(name, func(t *testing.T) {
			x := newScript(t, func(c *store.Config) {
				c.FlushInterval, c.FlushBytes, c.MaxPendingBytes = time.Millisecond, 1, pending
			})
			x.bloat()
			storetest.Run(t, x.s)
			frames := chainOf(t, "there", 7, 2000)
			var wg sync.WaitGroup
			written := make(chan struct{})
			wg.Go(func() {
				defer close(written)
				for i := range writes {
					x.entry(fmt.Sprintf("k%02d=new%d", i%50, i), fmt.Sprintf("x%d=1", i))
					if i%3 == 2 {
						x.entry(fmt.Sprintf("-x%d", i-1))
					}
					if i%40 == 39 {
						x.entry(fmt.Sprintf("compact:%d", x.s.Revision()-20))
					}
					if i < len(frames) {
						x.chain(func(b *store.Batch) {
							b.AppendFrame(frames[i])
							if i%10 == 9 {
								b.TrimFrames("there", frames[i-5].Last)
							}
						})
					}
				}
			})
			for running := true; running; {
				if err := x.s.Defragment(t.Context()); err != nil {
					t.Error(err)
				}
				select {
				case <-written:
					running = false
				default:
				}
			}
			wg.Wait()
		})
	}
}

// A snapshot that was opened before the exchange is read to its end.
func TestSnapshotOutlivesDefragment(t *testing.T) {
	x := newScript(t)
	x.bloat()
	at, size, r, err := x.s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := x.s.Defragment(testContext(t)); err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || int64(len(data)) != size {
		t.Fatalf("%d bytes of %d, %v", len(data), size, err)
	}
	other := storetest.New(t)
	if err := other.Restore(at, strings.NewReader(string(data))); err != nil {
		t.Fatal(err)
	}
	if other.Digest() != x.s.Digest() {
		t.Error("the snapshot holds other data")
	}
	// And one of after the exchange is whole, too.
	x.entry("more=1")
	x.flush()
	at, _, r, err = x.s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(other.Restore(at, r), r.Close()); err != nil || other.Digest() != x.s.Digest() {
		t.Errorf("after the exchange: %v", err)
	}
}

func TestDefragmentThatEndsEarly(t *testing.T) {
	x := newScript(t)
	x.bloat()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := x.s.Defragment(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if _, err := os.Stat(x.path() + ".defrag"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the other file is still there: %v", err)
	}
	// A directory in the way of the new file.
	if err := os.MkdirAll(filepath.Join(x.path()+".defrag", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := x.s.Defragment(t.Context()); err == nil {
		t.Error("no error although the file can't be made")
	}
	if err := os.RemoveAll(x.path() + ".defrag"); err != nil {
		t.Fatal(err)
	}
	x.entry("after=1")
	x.flush()
	if err := x.s.Defragment(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := x.s.Defragment(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// What a crash left of a new file is removed at start.
func TestCrashDuringDefragment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path+".defrag", []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	storetest.Open(t, store.Config{Path: path, NoSync: true})
	if _, err := os.Stat(path + ".defrag"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
