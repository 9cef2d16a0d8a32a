package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"geogate/replication/event"
)

func FuzzDecodeSealed(f *testing.F) {
	s, err := event.Seal(&event.Frame{Origin: "fra", Incarnation: 1, Txns: []event.Txn{{Revision: 6, Stamp: 7}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(int64(6), appendSealed(nil, &s)[sumBytes:])
	f.Fuzz(func(t *testing.T, last int64, body []byte) {
		if s, err := decodeSealed("fra", last, body, true); err == nil && event.HashOf(s.Bytes) != s.Hash {
			t.Fatal("a plain frame with another hash")
		}
		b := append(binary.LittleEndian.AppendUint32(nil, numberedSum(uint64(last), body)), body...)
		s, err := decodeSealed("fra", last, b, false)
		if err == nil && !bytes.Equal(appendSealed(nil, &s), b) {
			t.Fatalf("%x came back as %x", b, appendSealed(nil, &s))
		}
	})
}

func FuzzDecodeChainHead(f *testing.F) {
	f.Add(make([]byte, plainHeadBytes))
	f.Add(make([]byte, plainHeadBytes+8))
	f.Fuzz(func(t *testing.T, body []byte) {
		b := append(binary.LittleEndian.AppendUint32(nil, graveChecksum([]byte("fra"), body)), body...)
		for _, b := range [][]byte{b, body} {
			h, err := decodeChainHead("fra", b)
			if err != nil {
				continue
			}
			if again, err := decodeChainHead("fra", appendChainHead(nil, "fra", h)); err != nil || again != h {
				t.Fatalf("%+v came back as %+v, %v", h, again, err)
			}
		}
	})
}

func FuzzDecodeNumbered(f *testing.F) {
	f.Add(uint64(3), appendRequest(nil, &request{seq: 3, id: []byte("id"), record: []byte("record")}))
	f.Fuzz(func(t *testing.T, seq uint64, body []byte) {
		b := append(binary.LittleEndian.AppendUint32(nil, numberedSum(seq, body)), body...)
		if id, record, err := decodeRequest(seq, b); err == nil {
			again, rec, err := decodeRequest(seq, appendRequest(nil, &request{seq: seq, id: id, record: record}))
			if err != nil || !bytes.Equal(again, id) || !bytes.Equal(rec, record) {
				t.Fatalf("request %q came back as %q, %v", id, again, err)
			}
		}
		if c, err := decodeConflict(seq, b, false); err != nil || !bytes.Equal(c, body) {
			t.Fatalf("conflict %q came back as %q, %v", body, c, err)
		}
		if a, err := decodeApplied(body); err == nil {
			if again, err := decodeApplied(encodeApplied(a)); err != nil || !reflect.DeepEqual(a, again) {
				t.Fatalf("%+v came back as %+v, %v", a, again, err)
			}
		}
	})
}

// FuzzOpenFile writes any bytes at any place of a file: Open answers with an error or a store, and never ends the
// process.
func FuzzOpenFile(f *testing.F) {
	path := filepath.Join(f.TempDir(), "db")
	s, err := Open(Config{Path: path, NoSync: true})
	if err != nil {
		f.Fatal(err)
	}
	b, err := s.Begin()
	if err != nil {
		f.Fatal(err)
	}
	b.NextTxn()
	b.Put([]byte("key"), bytes.Repeat([]byte("value"), 1000), 0, Geo{Origin: "a", OriginRevision: 2, Stamp: 3})
	b.Bury([]byte("grave"), Geo{Origin: "a", OriginRevision: 2, Stamp: 3})
	b.Commit(Applied{Index: 1, Term: 1})
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(4096), []byte{1})
	f.Add(uint32(3*4096+8), []byte{0xff, 0xff, 0xff, 0xff})
	f.Add(uint32(2*4096+24), []byte{0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		data := bytes.Clone(whole)
		copy(data[int(at)%len(data):], patch)
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(Config{Path: path, NoSync: true, MmapBytes: 1 << 20})
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		if err := errors.Join(s.Check(), s.Close()); err != nil {
			t.Fatal(err)
		}
	})
}
