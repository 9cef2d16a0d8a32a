package consensus

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"go.etcd.io/etcd/server/v3/wal"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

func createLog(t *testing.T) (dir string, w *wal.WAL) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "wal")
	w, err := wal.Create(zap.NewNop(), dir, []byte("identity"))
	if err != nil {
		t.Fatal(err)
	}
	return dir, w
}

// Entries go on being saved, over many segments, while everything is paved again and again. The log has them all.
func TestPavingLeavesTheLogAlone(t *testing.T) {
	dir, w := createLog(t)
	p := newPaver(dir, slog.New(slog.DiscardHandler))
	p.bytes, p.rest = 4096, func(context.Context, time.Duration) {}
	log := pavedLog{w, p}
	ctx, cancel := context.WithCancel(t.Context())
	passes, ended := 0, make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			p.done = nil
			if err := p.pass(ctx); err != nil && ctx.Err() == nil {
				ended <- err
				return
			}
			passes++
		}
		ended <- nil
	}()
	const entries = 3000 // 64 KiB of log hold some 200
	for i := uint64(1); i <= entries; i++ {
		e := raftpb.Entry{Term: 1, Index: i, Data: make([]byte, 300)} // zeros, as the paver's
		if err := log.Save(raftpb.HardState{Term: 1, Commit: i - 1}, []raftpb.Entry{e}); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	segments, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	scan, err := scanLog(dir, segments)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d passes, %d segments", passes, len(segments))
	if scan.entries != entries || scan.torn != "" || len(segments) < 3 || passes < 3 {
		t.Errorf("%d entries, torn %q, in %d segments after %d passes", scan.entries, scan.torn, len(segments), passes)
	}
	for _, s := range segments[:len(segments)-1] {
		data, err := os.ReadFile(filepath.Join(dir, s.name))
		if err != nil {
			t.Fatal(err)
		}
		if len(data) >= 4096 && allZero(data[len(data)-4096:]) {
			t.Errorf("%s has grown again after its end", s.name)
		}
	}
}

// What was reserved is a hole to the file system until it is paved.
func TestPavedSegmentsHaveNoHoles(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: holes are looked for on Linux only")
	}
	dir, w := createLog(t)
	defer w.Close() //nolint:errcheck // nothing was written
	hole := func(name string) int64 {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // only looked at
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
	if err := p.pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if at := hole(name); at != wal.SegmentSizeBytes {
			t.Errorf("%s has a hole at %d", name, at)
		}
	}
	if len(p.done) != 2 {
		t.Errorf("%d segments are done", len(p.done))
	}
}

// A log that is hardly used is not paved; one that is, is.
func TestPavingBeginsWithUse(t *testing.T) {
	p := newPaver(t.TempDir(), slog.New(slog.DiscardHandler))
	p.wrote(0)
	p.wrote(paveAfterBytes - 1)
	if len(p.due) != 0 {
		t.Error("due before the log was used")
	}
	p.wrote(1)
	p.wrote(1)
	if len(p.due) != 1 {
		t.Error("not due")
	}
}
