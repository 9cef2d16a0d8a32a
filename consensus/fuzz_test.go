package consensus

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/etcd/raft/v3/raftpb"
	"go.etcd.io/etcd/server/v3/wal"
	"go.etcd.io/etcd/server/v3/wal/walpb"
	"go.uber.org/zap"
)

// FuzzSegment: any bytes are a log, a log with a torn end, or an error; and no entry comes out that a checksum does
// not cover.
func FuzzSegment(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "wal")
	w, err := wal.Create(zap.NewNop(), dir, (&Config{ClusterID: 7, NodeID: 1}).identity())
	if err != nil {
		f.Fatal(err)
	}
	for i := range uint64(4) {
		if err := w.Save(raftpb.HardState{Term: 1, Commit: i}, []raftpb.Entry{{Term: 1, Index: i + 1, Data: []byte("data")}}); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.SaveSnapshot(walpb.Snapshot{Index: 2, Term: 1, ConfState: &raftpb.ConfState{Voters: []uint64{1}}}); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	segments, err := listSegments(dir)
	if err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, segments[0].name))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[:1024], true)
	f.Add(data[:100], true)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, false)
	f.Fuzz(func(t *testing.T, b []byte, last bool) {
		s := &logScan{}
		if err := s.segment(b, last); err != nil && s.torn != "" {
			t.Fatalf("%v, and torn %s", err, s.torn)
		}
		if s.torn != "" && !last {
			t.Fatal("torn before the last segment")
		}
	})
}

func FuzzSnapshotFile(f *testing.F) {
	conf, err := (&raftpb.ConfState{Voters: []uint64{1}}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	dir := f.TempDir()
	w, err := createSnapshot(dir, 5, 2, conf, 4)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := w.Write([]byte("data")); err != nil {
		f.Fatal(err)
	}
	file, err := w.finish(xxhash.Sum64String("data"))
	if err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(file.path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(bytes.Replace(whole, []byte("data"), []byte("dada"), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		// A fuzzer does not guess checksums: the fields are read with a right one too.
		for _, b := range [][]byte{b, withTrailer(b)} {
			path := filepath.Join(t.TempDir(), "x.snap")
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			in, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := readSnapshot(in)
			if err == nil && (s.bytes < 0 || s.start+s.bytes+snapshotTrailer != int64(len(b))) {
				t.Errorf("%+v of %d bytes", s, len(b))
			}
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func withTrailer(b []byte) []byte {
	sum := xxhash.Sum64(b)
	for i := range snapshotTrailer {
		b = append(b[:len(b):len(b)], byte(sum>>(8*i)))
	}
	return b
}
