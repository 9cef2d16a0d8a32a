package consensus

import (
	"context"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"go.etcd.io/etcd/server/v3/wal"
	"go.uber.org/zap"
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
			p.begun = nil
			if err := p.pass(ctx, math.MaxInt64); err != nil && ctx.Err() == nil {
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
