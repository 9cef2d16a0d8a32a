package consensus

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/wal"
	"golang.org/x/sys/unix"
)

// What was reserved is a hole to the file system until it is paved.
func TestPavedSegmentsHaveNoHoles(t *testing.T) {
	dir, w := createLog(t)
	defer w.Close() //nolint:errcheck // nothing was written
	hole := func(name string) int64 {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // only looked at
		// What was only read is in memory, and would pass for data.
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			t.Fatal(err)
		}
		at, err := f.Seek(0, unix.SEEK_HOLE)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	names := []string{"0000000000000000-0000000000000000.wal", "0.tmp"}
	deadline := time.Now().Add(10 * time.Second)
	for { // the next segment is laid out in the background
		if info, err := os.Stat(filepath.Join(dir, names[1])); err == nil && info.Size() == wal.SegmentSizeBytes {
			break
		} else if err != nil && !errors.Is(err, os.ErrNotExist) || time.Now().After(deadline) {
			t.Fatal("no next segment: ", err)
		}
		runtime.Gosched()
	}
	if hole(names[0]) == wal.SegmentSizeBytes {
		t.Skip("SKIPPED: this file system writes what it reserves")
	}
	p := newPaver(dir, slog.New(slog.DiscardHandler))
	// It goes as far as it is told to, in whole steps, and on from there.
	p.bytes, p.step = 4096, 16384
	for _, c := range []struct{ bytes, first, second int64 }{
		{1, 16384, 0}, {20000, 3 * 16384, 0}, {1, 4 * 16384, 0}, {1, 4 * 16384, 16384}, {math.MaxInt64, 4 * 16384, 4 * 16384},
	} {
		if err := p.pass(t.Context(), c.bytes); err != nil {
			t.Fatal(err)
		}
		if first, second := p.begun[0].to, p.begun[1].to; min(first, wal.SegmentSizeBytes) != c.first || min(second, wal.SegmentSizeBytes) != c.second {
			t.Errorf("after %d bytes more it is at %d and %d, want %d and %d", c.bytes, first, second, c.first, c.second)
		}
	}
	for _, name := range names {
		if at := hole(name); at != wal.SegmentSizeBytes {
			t.Errorf("%s has a hole at %d", name, at)
		}
	}
	if !p.begun[0].whole || !p.begun[1].whole {
		t.Error("it does not know that it is through")
	}
}
