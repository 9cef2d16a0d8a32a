package store

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"geogate/replication/event"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func goldenVersions() []Version {
	geo := Geo{Origin: "fra", OriginRevision: 300, Stamp: event.Stamp(0x0190_1234_5678_0002), Seen: []byte("seen")}
	return []Version{
		{Key: []byte("key"), Value: []byte("value"), Mod: 300, Sub: 2, Create: 290, Version: 3, Lease: -7, Geo: geo},
		{Key: []byte("key"), Value: nil, Mod: 1 << 40, Create: 1 << 40, Version: 1, Geo: Geo{Origin: "fra", OriginRevision: 1 << 40}},
		{Key: []byte("key"), Mod: 301, Deleted: true, Geo: geo},
	}
}

// The bytes of the format are fixed: a change of this file needs another format version.
func TestGoldenRecords(t *testing.T) {
	var lines []string
	for _, v := range goldenVersions() {
		lines = append(lines, hex.EncodeToString(appendRevKey(nil, v.Mod, uint32(v.Sub)))+" "+hex.EncodeToString(appendRecord(nil, &v, 5)))
	}
	g := goldenVersions()[0].Geo
	lines = append(lines, "grave "+hex.EncodeToString(encodeGrave([]byte("key"), &g, 5)))
	lines = append(lines, "system "+hex.EncodeToString(encodeSystem(&SystemEntry{Name: "name", Value: []byte("value"), Geo: g}, 5)))
	lines = append(lines, "system "+hex.EncodeToString(encodeSystem(&SystemEntry{Name: "name", Deleted: true, Geo: g}, 5)))
	lines = append(lines, "applied "+hex.EncodeToString(encodeApplied(Applied{Index: 9, Term: 2, Conf: []byte("conf")})))
	lines = append(lines, "head "+hex.EncodeToString(appendChainHead(nil, "fra", chainHead{incarnation: 0xabc, head: 9, floor: 5, plain: 3})))
	f := event.Frame{Origin: "fra", Incarnation: 0xabc, PrevRevision: 5, PrevHash: event.HashOf([]byte("before")), Txns: []event.Txn{
		{Revision: 6, Stamp: 77, Ops: []event.Op{{Kind: event.OpPut, Key: []byte("k"), Value: []byte("v")}}},
	}}
	s, err := event.Seal(&f)
	if err != nil {
		t.Fatal(err)
	}
	lines = append(lines, "frame "+hex.EncodeToString(appendSealed(nil, &s)))
	lines = append(lines, "record "+hex.EncodeToString(encodeTableRecord("xkey", []byte("value"))))
	lines = append(lines, "conflict "+hex.EncodeToString(appendConflict(nil, &conflict{seq: 4, bytes: []byte("c")})))
	got := strings.Join(lines, "\n") + "\n"
	path := filepath.Join("testdata", "records.golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("records are\n%swant\n%s", got, want)
	}
}

func TestRecordsComeBack(t *testing.T) {
	for _, want := range goldenVersions() {
		b := appendRecord(nil, &want, 5)
		if r := (&record{Version: want}); len(b) > recordBound(r) {
			t.Errorf("record of %d bytes, bound is %d", len(b), recordBound(r))
		}
		var got Version
		origin, err := decodeRecord(want.Mod, uint32(want.Sub), b, &got)
		if err != nil || origin != 5 {
			t.Fatalf("origin %d, %v", origin, err)
		}
		got.Geo.Origin = "fra"
		if len(got.Value) == 0 {
			got.Value = nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		for i := range b {
			c := append([]byte(nil), b...)
			c[i] ^= 1
			if _, err := decodeRecord(want.Mod, uint32(want.Sub), c, &got); err == nil {
				t.Errorf("flipped bit in byte %d is not noticed", i)
			}
		}
		if _, err := decodeRecord(want.Mod+1, uint32(want.Sub), b, &got); err == nil {
			t.Error("record in another's place is not noticed")
		}
	}
}

// FuzzDecodeRecord: any bytes give an error or a version that encodes to a record that decodes to the same.
func FuzzDecodeRecord(f *testing.F) {
	for _, v := range goldenVersions() {
		f.Add(v.Mod, uint32(v.Sub), appendRecord(nil, &v, 5))
	}
	f.Add(int64(0), uint32(0), []byte{})
	f.Fuzz(func(t *testing.T, main int64, sub uint32, body []byte) {
		// A fuzzer does not guess checksums: the fields are decoded with a right one too.
		for _, b := range [][]byte{body, withChecksum(main, sub, body)} {
			var v, again Version
			origin, err := decodeRecord(main, sub, b, &v)
			if err != nil {
				continue
			}
			o, err := decodeRecord(main, sub, appendRecord(nil, &v, origin), &again)
			if err != nil || o != origin || !reflect.DeepEqual(v, again) {
				t.Fatalf("%+v (origin %d) came back as %+v (origin %d), %v", v, origin, again, o, err)
			}
		}
	})
}

func withChecksum(main int64, sub uint32, body []byte) []byte {
	sum := checksum(main, sub, body)
	return append([]byte{byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)}, body...)
}

func FuzzDecodeGrave(f *testing.F) {
	g := goldenVersions()[0].Geo
	f.Add([]byte("key"), encodeGrave([]byte("key"), &g, 5))
	f.Fuzz(func(t *testing.T, key, body []byte) {
		sum := graveChecksum(key, body)
		for _, b := range [][]byte{body, append([]byte{byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)}, body...)} {
			var g, again Geo
			origin, err := decodeGrave(key, b, &g)
			if err != nil {
				continue
			}
			if o, err := decodeGrave(key, encodeGrave(key, &g, origin), &again); err != nil || o != origin || !reflect.DeepEqual(g, again) {
				t.Fatalf("%+v came back as %+v, %v", g, again, err)
			}
		}
	})
}
