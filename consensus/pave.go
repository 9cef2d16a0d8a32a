package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/raft/v3/raftpb"
	"go.etcd.io/etcd/server/v3/wal/walpb"
)

const (
	paveChunkBytes = 64 << 10 // looked at and written while the log waits
	paveStepBytes  = 1 << 20  // written between two syncs
	// paveAfterBytes of entries show that a log is being used: the segments of an idle node are left alone.
	paveAfterBytes = 1 << 20
	// paveAhead is how many bytes are written in advance for each byte of entries: more than one, so that the paver gets and
	// stays ahead of the log, and not many, so that a node that is little used is spared most of it.
	paveAhead = 2
	// paveRest is how many times as long as a step the paver rests after it: disks have other things to do.
	paveRest = 3
)

// paver writes the zeros that a segment of the log is reserved to have. A file system that reserves space without
// writing to it changes its own metadata at the first write to each block, and the fsync of that write waits for the
// file system's journal as well; on ext4 that is 1.5 to 2 times as long. What is paved has been written before.
//
// It is safe whatever the segment is used for meanwhile: under the lock that every write to the log takes, it reads a
// chunk and writes zeros where it has found zeros, never beyond the end of the file.
type paver struct {
	dir   string
	log   *slog.Logger
	bytes int   // of a chunk, a whole part of a step
	step  int64 // bytes between two syncs
	rest  func(ctx context.Context, d time.Duration)

	mu      sync.Mutex    // held by whoever writes to the log, and for each chunk
	written atomic.Int64  // bytes of entries since the last pass began
	due     chan struct{} // capacity 1

	begun []*paving // the segments of the last pass; of the paver's goroutine
}

// paving is how far a segment is paved.
type paving struct {
	file  os.FileInfo
	to    int64 // offset
	whole bool
}

func newPaver(dir string, log *slog.Logger) *paver {
	return &paver{dir: dir, log: log, bytes: paveChunkBytes, step: paveStepBytes, rest: rest, due: make(chan struct{}, 1)}
}

// pavedLog tells the paver what is written, and keeps it away meanwhile.
type pavedLog struct {
	logFile
	paver *paver
}

func (l pavedLog) Save(state raftpb.HardState, entries []raftpb.Entry) error {
	l.paver.mu.Lock()
	err := l.logFile.Save(state, entries)
	l.paver.mu.Unlock()
	l.paver.wrote(payload(entries))
	return err
}

func (l pavedLog) SaveSnapshot(s walpb.Snapshot) error {
	l.paver.mu.Lock()
	defer l.paver.mu.Unlock()
	return l.logFile.SaveSnapshot(s)
}

func (p *paver) wrote(bytes int64) {
	if bytes == 0 || p.written.Add(bytes) < paveAfterBytes {
		return
	}
	select {
	case p.due <- struct{}{}:
	default:
	}
}

// run paves until ctx ends or the disk refuses; then the log goes on as it would have without.
func (p *paver) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.due:
		}
		if err := p.pass(ctx, paveAhead*p.written.Swap(0)); err != nil {
			p.log.Warn("the log's reserved space can't be written in advance: fsyncs take longer", "dir", p.dir, "error", err)
			return nil
		}
	}
}

// pass paves so many bytes of the segment in use, and of the one that comes next.
func (p *paver) pass(ctx context.Context, bytes int64) error {
	files, err := os.ReadDir(p.dir)
	if err != nil {
		return err
	}
	var inUse, next string
	for _, f := range files { // in the order of their names
		switch {
		case strings.HasSuffix(f.Name(), ".wal"):
			inUse = f.Name()
		case strings.HasSuffix(f.Name(), ".tmp"):
			next = f.Name()
		}
	}
	var begun []*paving
	for _, name := range []string{inUse, next} {
		if name == "" || ctx.Err() != nil {
			continue
		}
		s, paved, err := p.segment(ctx, filepath.Join(p.dir, name), bytes)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has got another name meanwhile
		}
		if err != nil {
			return err
		}
		begun = append(begun, s)
		bytes -= paved
	}
	p.begun = begun
	return nil
}

// segment goes on paving one file, by about so many bytes.
func (p *paver) segment(ctx context.Context, path string, bytes int64) (s *paving, paved int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close() //nolint:errcheck // what counts has been synced
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	s = &paving{file: info}
	for _, b := range p.begun {
		if os.SameFile(b.file, info) {
			s = b
		}
	}
	buf := make([]byte, p.bytes)
	for !s.whole && paved < bytes && ctx.Err() == nil {
		start, zeros := time.Now(), int64(0)
		for end := s.to + p.step; !s.whole && s.to < end; s.to += int64(p.bytes) {
			n, more, err := p.chunk(f, s.to, buf)
			if err != nil {
				return nil, 0, err
			}
			zeros += int64(n)
			s.whole = !more
		}
		if zeros == 0 {
			continue // the log has been here
		}
		if err := fileutil.Fdatasync(f); err != nil {
			return nil, 0, fmt.Errorf("sync %s: %w", path, err)
		}
		paved += zeros
		p.rest(ctx, paveRest*time.Since(start))
	}
	return s, paved, nil
}

// chunk writes zeros over the zeros at an offset, and returns how many, and whether the file goes on behind them.
func (p *paver) chunk(f *os.File, at int64, buf []byte) (paved int, more bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := f.ReadAt(buf, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, false, err
	}
	more = err == nil
	if n == 0 || !allZero(buf[:n]) {
		return 0, more, nil
	}
	_, err = f.WriteAt(buf[:n], at)
	return n, more, err
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
