package event

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew; only for a new version of the format")

// goldens are frames whose bytes may never change: they are hashed and compared between builds.
func goldens() map[string]*Frame {
	at := StampAt(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	hash := HashOf([]byte("the frame before"))
	return map[string]*Frame{
		"first": {
			Origin: "fra", Incarnation: 0x0123456789abcdef,
			Txns: []Txn{{Revision: 2, Stamp: at, Ops: []Op{{Kind: OpPut, Key: []byte("k"), Value: []byte("v")}}}},
		},
		"full": {
			Origin: "fra", Incarnation: 1, PrevRevision: 41, PrevHash: hash, Seen: Vector{"nyc": 7, "ams": 300, "sin": 0},
			Txns: []Txn{
				{Revision: 42, Stamp: at + 1, Ops: []Op{
					{Kind: OpPut, Key: []byte("a"), Value: []byte("value"), Lease: 77},
					{Kind: OpDelete, Key: []byte("b")},
					{Kind: OpPut, Key: []byte("empty")},
				}},
				{Revision: 50, Stamp: at + 2},
			},
		},
		"system": {
			Origin: "fra", Incarnation: 1, PrevRevision: 41, PrevHash: hash,
			Txns: []Txn{
				{Revision: 42, Stamp: at + 1, Ops: []Op{
					{Kind: OpSystemPut, Key: []byte("auth/role/reader")},
					{Kind: OpSystemPut, Key: []byte("auth/user/ann"), Value: []byte("value")},
					{Kind: OpSystemDelete, Key: []byte("auth/user/bob")},
				}},
				{Revision: 43, Stamp: at + 2, Ops: []Op{{Kind: OpPut, Key: []byte("k"), Value: []byte("v")}}},
			},
		},
		"home": {
			Origin: "fra", Incarnation: 1, PrevRevision: 41, PrevHash: hash,
			Txns: []Txn{
				{Revision: 42, Stamp: at + 1, Home: &Home{Keyspace: "/locks/", Epoch: 7, Leases: []LeaseTTL{{ID: 77, TTL: 30}}}, Ops: []Op{
					{Kind: OpPut, Key: []byte("/locks/a"), Value: []byte("1"), Lease: 77},
					{Kind: OpDelete, Key: []byte("/locks/b")},
				}},
				{Revision: 43, Stamp: at + 2, Home: &Home{Epoch: 1 << 32}, Ops: []Op{{Kind: OpPut, Key: []byte("k"), Value: []byte("v")}},
					Request: &Request{ID: []byte("order-7"), Hash: hash[:], Outcome: []byte{0x12, 0x00}}},
				{Revision: 44, Stamp: at + 3, Ops: []Op{{Kind: OpSystemPut, Key: []byte("auth/role/reader")}}},
			},
		},
		"request": {
			Origin: "fra", Incarnation: 1, PrevRevision: 41, PrevHash: hash,
			Txns: []Txn{
				{Revision: 42, Stamp: at + 1, Ops: []Op{{Kind: OpPut, Key: []byte("a"), Value: []byte("1")}},
					Request: &Request{ID: []byte("order-7"), Hash: hash[:], Outcome: []byte{0x12, 0x00}}},
				{Revision: 43, Stamp: at + 2, Ops: []Op{{Kind: OpDelete, Key: []byte("a")}},
					Request: &Request{ID: []byte("order-8"), Hash: hash[:], Outcome: []byte{0x1a, 0x02, 0x10, 0x01}, Reduced: true}},
				{Revision: 44, Stamp: at + 3, Ops: []Op{{Kind: OpDelete, Key: []byte("b")}}},
			},
		},
	}
}

func TestGoldenFrames(t *testing.T) {
	for name, f := range goldens() {
		s, err := Seal(f)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", name+".hex")
		if *update {
			if err := os.WriteFile(path, []byte(hex.EncodeToString(s.Bytes)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s.Bytes, want) {
			t.Errorf("%s: the format has changed:\n got %x\nwant %x", name, s.Bytes, want)
		}
		if _, opened, err := Open(want); err != nil || opened.Hash != s.Hash {
			t.Errorf("%s: opened %v, %v", name, opened.Hash, err)
		}
	}
}
