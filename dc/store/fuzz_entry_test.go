package store

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// FuzzStored: the entry of any key, short or long, comes back from where it lies; any bytes there are an entry or an
// error.
func FuzzStored(f *testing.F) {
	f.Add([]byte("key"), []byte("body"), uint16(1))
	f.Add([]byte("key"), []byte("body"), uint16(bolt.MaxKeySize/3+1))
	f.Add([]byte{}, []byte{0xff, 0xff, 0x03}, uint16(0))
	f.Fuzz(func(t *testing.T, part, body []byte, times uint16) {
		key := bytes.Repeat(part[:min(len(part), 16)], int(times))
		at := storedKey(key)
		if len(at) > bolt.MaxKeySize {
			t.Fatalf("key of %d bytes lies at %d bytes", len(key), len(at))
		}
		k, v, err := openStored(at, storedValue(key, body))
		if err != nil || !bytes.Equal(k, key) || !bytes.Equal(v, body) {
			t.Fatalf("key of %d bytes came back with %d, %v", len(key), len(k), err)
		}
		_, _, _ = openStored(make([]byte, longKeyBytes), body)
	})
}

// FuzzDecodeSystem: any bytes are an entry of the system table that can be written and read again, or an error; and so
// for a lease.
func FuzzDecodeSystem(f *testing.F) {
	e := &SystemEntry{Name: "n", Value: []byte("v"), Geo: Geo{Origin: "a", OriginRevision: 3, Stamp: 4, Seen: []byte("s")}}
	f.Add([]byte("n"), encodeSystem(e, 2)[sumBytes:])
	f.Add([]byte("12345678"), []byte{2})
	f.Fuzz(func(t *testing.T, name, body []byte) {
		var e SystemEntry
		sum := graveChecksum(name, body)
		b := append([]byte{byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)}, body...)
		if origin, err := decodeSystem(name, b, &e); err == nil {
			var again SystemEntry
			o, err := decodeSystem(name, encodeSystem(&e, origin), &again)
			if err != nil || o != origin || again.Name != e.Name || again.Deleted != e.Deleted || !bytes.Equal(again.Value, e.Value) || !reflect.DeepEqual(again.Geo, e.Geo) {
				t.Fatalf("%+v came back as %+v, %v", e, again, err)
			}
		}
		if id, record, err := decodeLease(name, body); err == nil {
			if _, again, err := decodeLease(name, encodeLease(id, record)); err != nil || !bytes.Equal(record, again) {
				t.Fatalf("lease %d came back with %q, %v", id, again, err)
			}
		}
	})
}

// FuzzUnpack: any file is a backup or an error, and then nothing is left at the place for it.
func FuzzUnpack(f *testing.F) {
	dir := f.TempDir()
	s, err := Open(Config{Path: filepath.Join(dir, "db"), NoSync: true})
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, "db"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, uint16(0), true)
	f.Add([]byte("damage"), uint16(300), true)
	f.Add([]byte("short"), uint16(9), false)
	f.Fuzz(func(t *testing.T, patch []byte, at uint16, sealed bool) {
		b := patch
		if sealed {
			b = bytes.Clone(whole)
			copy(b[int(at)%len(b):], patch)
			b = sum256(b)
		}
		in, out := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(in, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Unpack(in, out); err != nil {
			if _, err := os.Stat(out); !os.IsNotExist(err) {
				t.Fatalf("a refused backup left a file: %v", err)
			}
		}
	})
}

// sum256 puts the checksum of a backup behind it.
func sum256(b []byte) []byte {
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}
