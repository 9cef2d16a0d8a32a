package homes

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func fullValue() Value {
	return Value{Epoch: 1<<32 + 2, Home: Life{"nyc", 7}, Forced: true, Past: []Tenure{{1, Life{"fra", 1}, 300}, {1 << 32, Life{"ams", 2}, 0}}}
}

// records are written by one version and read by another; their bytes may not change.
func records() map[string][]byte {
	v := fullValue()
	first := Value{Epoch: 1, Home: Life{"fra", 1}}
	return map[string][]byte{
		"state-first": State{Decided: first}.Encode(),
		"state-full": State{Decided: v, Promised: Ballot{3, "ams"}, Vote: Proposal{Ballot{2, "nyc"}, first}, Draining: true, Frozen: 9,
			Allowed: 12, Lease: Lease{Life{"nyc", 7}, v.Epoch, 10 * time.Second, 4}, Barred: 5, Moved: 1e18}.Encode(),
		"command-full": Command{Kind: Accept, Keyspace: "/locks/", Known: first, Ballot: Ballot{2, "nyc"}, Value: v, First: true, Drained: true,
			Duration: time.Second, Lapsed: 3, UpTo: 6, At: 1e18}.Encode(),
		"reply-full": Reply{Answer: Promised, Keyspace: "/locks/", Epoch: 1, Ballot: Ballot{2, "nyc"}, Promised: Ballot{3, "ams"},
			Vote: Proposal{Ballot{1, "fra"}, first}, Watermark: 42, Data: true, Lease: Lease{Life{"fra", 1}, 1, time.Second, 1}, Decided: v,
			Quiet: true, Lost: true, AtHome: true}.Encode(),
	}
}

func TestGoldenRecords(t *testing.T) {
	for name, b := range records() {
		path := filepath.Join("testdata", name+".hex")
		if *update {
			if err := os.WriteFile(path, []byte(hex.EncodeToString(b)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.TrimSpace(string(text)); want != hex.EncodeToString(b) {
			t.Errorf("%s: the bytes have changed: %x, golden %s", name, b, want)
		}
		again, err := reencode(name, b)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s: read and written again: %x, %v", name, again, err)
		}
	}
}

func reencode(name string, b []byte) ([]byte, error) {
	switch kind, _, _ := strings.Cut(name, "-"); kind {
	case "state":
		s, err := DecodeState(b)
		return s.Encode(), err
	case "command":
		c, err := DecodeCommand(b)
		return c.Encode(), err
	default:
		r, err := DecodeReply(b)
		return r.Encode(), err
	}
}

// Every field of the records must be in the full ones, or a forgotten one would go unseen.
func TestRecordsAreFull(t *testing.T) {
	s, _ := DecodeState(records()["state-full"])
	c, _ := DecodeCommand(records()["command-full"])
	r, _ := DecodeReply(records()["reply-full"])
	for _, v := range []reflect.Value{reflect.ValueOf(s), reflect.ValueOf(c), reflect.ValueOf(r)} {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s.%s is zero", v.Type(), v.Type().Field(i).Name)
			}
		}
	}
	if len(s.Decided.Past) != 2 || !s.Decided.Equal(fullValue()) {
		t.Errorf("value: %+v", s.Decided)
	}
}

func TestBadRecords(t *testing.T) {
	for _, b := range [][]byte{{0x08, 0x02}, {0x12}, {0xff}, {0x12, 0x05, 1}} {
		for _, name := range []string{"state", "command", "reply"} {
			if _, err := reencode(name, b); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s %x: %v", name, b, err)
			}
		}
	}
	if s, err := DecodeState(nil); err != nil || !reflect.DeepEqual(s, State{}) {
		t.Errorf("no bytes: %+v, %v", s, err)
	}
	unknown := append(State{Frozen: 3}.Encode(), 0xf8, 0x07, 0x01) // field 127
	if s, err := DecodeState(unknown); err != nil || s.Frozen != 3 {
		t.Errorf("unknown field: %+v, %v", s, err)
	}
}

// Bytes from a peer never panic, neither read nor applied, and what is read is written again the same.
func FuzzRecords(f *testing.F) {
	r := records()
	f.Add(r["state-full"], r["command-full"])
	f.Add(r["state-first"], Command{Kind: Prepare, Known: Value{Epoch: 1, Home: Life{"fra", 1}}, Ballot: Ballot{1, "nyc"}}.Encode())
	f.Add(r["state-full"], r["reply-full"])
	f.Fuzz(func(t *testing.T, state, command []byte) {
		s, err := DecodeState(state)
		if err != nil {
			return
		}
		c, err := DecodeCommand(command)
		if err != nil {
			return
		}
		next, reply := s.Apply(c, func(Life) int64 { return 1 })
		again, err := DecodeState(next.Encode())
		if err != nil || !bytes.Equal(again.Encode(), next.Encode()) {
			t.Fatalf("%+v is read as %+v, %v", next, again, err)
		}
		if next.Decided.Compare(s.Decided) < 0 {
			t.Fatalf("the decision went back from %s to %s", s.Decided, next.Decided)
		}
		if _, err := DecodeReply(reply.Encode()); err != nil {
			t.Fatal(err)
		}
	})
}
