package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/etcd/raft/v3/raftpb"
)

// A received snapshot lies in a file until the state machine has restored it:
//
//	magic "ggsnap01" | index u64 | term u64 | data length u64 | conf length u64 | conf | data | XXH64 of all before
//
// Numbers are little-endian. The file gets its name once it is complete and synced, and only then may the log
// say that the snapshot was taken over. So a restart finds either no such record or the whole file.
const (
	snapshotMagic   = "ggsnap01"
	snapshotHeader  = len(snapshotMagic) + 4*8
	snapshotTrailer = 8
	snapshotSuffix  = ".snap"
	maxConfBytes    = 1 << 20
)

func (c *Config) snapDir() string { return filepath.Join(c.Dir, "snap") }

func snapshotName(index, term uint64) string {
	return fmt.Sprintf("%016x-%016x%s", term, index, snapshotSuffix)
}

// snapshotFile is a complete received snapshot.
type snapshotFile struct {
	path  string
	index uint64
	term  uint64
	conf  raftpb.ConfState
	book  *Membership // as conf; nil from an older build
	raw   []byte      // both, as they came
	bytes int64       // of data
	start int64       // offset of data
}

// snapshotWriter writes one, under a temporary name.
type snapshotWriter struct {
	f    *os.File
	file snapshotFile
	sum  hash.Hash64
	data hash.Hash64 // of the data alone, to compare with the sender's
	left int64
}

// createSnapshot begins a file for data of the given length.
func createSnapshot(dir string, index, term uint64, conf []byte, length int64) (*snapshotWriter, error) {
	w := &snapshotWriter{
		file: snapshotFile{path: filepath.Join(dir, snapshotName(index, term)), index: index, term: term, bytes: length, start: int64(snapshotHeader + len(conf))},
		sum:  xxhash.New(), data: xxhash.New(), left: length,
	}
	if err := w.file.keepConf(conf); err != nil {
		return nil, fmt.Errorf("membership can't be decoded: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, "incoming-*.tmp")
	if err != nil {
		return nil, err
	}
	w.f = f
	head := append([]byte(snapshotMagic), make([]byte, 32)...)
	for i, v := range []uint64{index, term, uint64(length), uint64(len(conf))} {
		binary.LittleEndian.PutUint64(head[len(snapshotMagic)+8*i:], v)
	}
	if err := w.write(append(head, conf...)); err != nil {
		w.discard()
		return nil, err
	}
	return w, nil
}

func (w *snapshotWriter) write(b []byte) error {
	w.sum.Write(b) // never fails
	_, err := w.f.Write(b)
	return err
}

// Write adds data.
func (w *snapshotWriter) Write(b []byte) (int, error) {
	if w.left -= int64(len(b)); w.left < 0 {
		return 0, errors.New("more data than announced")
	}
	w.data.Write(b)
	return len(b), w.write(b)
}

// finish compares the data with the sender's checksum, syncs the file and gives it its name.
func (w *snapshotWriter) finish(checksum uint64) (*snapshotFile, error) {
	if w.left != 0 {
		return nil, fmt.Errorf("%d bytes of data are missing", w.left)
	}
	if got := w.data.Sum64(); got != checksum {
		return nil, fmt.Errorf("checksum of the data is %016x, should be %016x", got, checksum)
	}
	if _, err := w.f.Write(binary.LittleEndian.AppendUint64(nil, w.sum.Sum64())); err != nil {
		return nil, err
	}
	if err := w.f.Sync(); err != nil {
		return nil, err
	}
	if err := w.f.Close(); err != nil {
		return nil, err
	}
	if err := os.Rename(w.f.Name(), w.file.path); err != nil {
		return nil, err
	}
	return &w.file, syncDir(filepath.Dir(w.file.path))
}

// discard removes what was written; it is safe after finish.
func (w *snapshotWriter) discard() {
	_ = w.f.Close()           // a second close only returns an error
	_ = os.Remove(w.f.Name()) // renamed or left over; the next start clears it
}

// data opens the data; the caller closes it.
func (s *snapshotFile) data() (io.ReadCloser, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	section := io.NewSectionReader(f, s.start, s.bytes)
	return struct {
		io.Reader
		io.Closer
	}{section, f}, nil
}

// findSnapshot verifies and returns the received snapshot of a position, nil when there is none.
func findSnapshot(dir string, index, term uint64) (*snapshotFile, error) {
	path := filepath.Join(dir, snapshotName(index, term))
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	s, err := readSnapshot(f)
	if err == nil && (s.index != index || s.term != term) {
		err = fmt.Errorf("it holds index %d term %d", s.index, s.term)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w: received snapshot %s: %w; %s", ErrDamaged, ErrNeedsCopy, path, err, rebuildNode)
	}
	s.path = path
	return s, nil
}

// readSnapshot checks a whole file.
func readSnapshot(f *os.File) (*snapshotFile, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	head := make([]byte, snapshotHeader)
	if _, err := io.ReadFull(f, head); err != nil {
		return nil, err
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, errors.New("not a snapshot file of this version")
	}
	field := func(i int) uint64 { return binary.LittleEndian.Uint64(head[len(snapshotMagic)+8*i:]) }
	s := &snapshotFile{index: field(0), term: field(1), bytes: int64(field(2))}
	confLen := field(3)
	if s.bytes < 0 || confLen > maxConfBytes || info.Size()-s.bytes != int64(snapshotHeader+snapshotTrailer)+int64(confLen) {
		return nil, errors.New("its length does not fit its header")
	}
	s.start = int64(snapshotHeader) + int64(confLen)
	conf := make([]byte, confLen)
	if _, err := io.ReadFull(f, conf); err != nil {
		return nil, err
	}
	sum := xxhash.New()
	sum.Write(head)
	sum.Write(conf)
	if _, err := io.Copy(sum, io.LimitReader(f, s.bytes)); err != nil {
		return nil, err
	}
	trailer := make([]byte, snapshotTrailer)
	if _, err := io.ReadFull(f, trailer); err != nil {
		return nil, err
	}
	if got, want := sum.Sum64(), binary.LittleEndian.Uint64(trailer); got != want {
		return nil, fmt.Errorf("checksum is %016x, should be %016x", got, want)
	}
	return s, s.keepConf(conf)
}

func (s *snapshotFile) keepConf(b []byte) (err error) {
	s.raw = b
	s.conf, s.book, err = decodeConf(b)
	return err
}

// clearSnapshots removes all received snapshots but one, and what was left half received.
func clearSnapshots(dir string, keep *snapshotFile) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		if keep != nil && path == keep.path {
			continue
		}
		if strings.HasSuffix(path, snapshotSuffix) || strings.HasSuffix(path, ".tmp") {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// remove deletes the file. It may be gone already.
func (s *snapshotFile) remove() error {
	if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
