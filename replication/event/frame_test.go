package event

import (
	"errors"
	"reflect"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func mustSeal(t testing.TB, f *Frame) Sealed {
	t.Helper()
	s, err := Seal(f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(revision int64) Txn {
	return Txn{Revision: revision, Ops: []Op{{Kind: OpPut, Key: []byte("k")}}}
}

func TestSealAndOpen(t *testing.T) {
	for name, f := range goldens() {
		s := mustSeal(t, f)
		got, opened, err := Open(s.Bytes)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(opened, s) {
			t.Errorf("%s: opened as\n %+v, sealed\n %+v", name, opened, s)
		}
		if again := mustSeal(t, got); again.Hash != s.Hash {
			t.Errorf("%s: sealed again, it has another hash", name)
		}
		if s.First != f.First() || s.Last != f.Last() || s.Txns != len(f.Txns) || s.PrevHash != f.PrevHash {
			t.Errorf("%s: header %+v", name, s)
		}
	}
}

func TestSealRefuses(t *testing.T) {
	for name, f := range map[string]*Frame{
		"no origin":               {Txns: []Txn{put(1)}},
		"no transaction":          {Origin: "a"},
		"revision not ascending":  {Origin: "a", Txns: []Txn{put(2), put(2)}},
		"revision not above prev": {Origin: "a", PrevRevision: 2, Txns: []Txn{put(2)}},
		"unknown kind":            {Origin: "a", Txns: []Txn{{Revision: 1, Ops: []Op{{Kind: lastOp + 1, Key: []byte("k")}}}}},
		"no key":                  {Origin: "a", Txns: []Txn{{Revision: 1, Ops: []Op{{Kind: OpPut}}}}},
	} {
		if _, err := Seal(f); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	good := mustSeal(t, goldens()["full"]).Bytes
	for n := range good {
		if _, _, err := Open(good[:n]); err == nil {
			// Cut between two transactions it is a frame again, though another one.
			if _, s, _ := Open(good[:n]); s.Hash == HashOf(good) {
				t.Errorf("cut at %d it passes for the whole", n)
			}
		} else if !errors.Is(err, ErrFrame) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	future := append([]byte{1 << 3, FrameVersion + 1}, good[2:]...)
	if _, _, err := Open(future); !errors.Is(err, ErrFrame) {
		t.Errorf("a later version: %v", err)
	}
	wrong := append([]byte(nil), good...)
	wrong = protowire.AppendTag(wrong, fieldOrigin, protowire.VarintType)
	wrong = protowire.AppendVarint(wrong, 5)
	if _, _, err := Open(wrong); !errors.Is(err, ErrFrame) {
		t.Errorf("a field of the wrong type: %v", err)
	}
}

func TestOpenSkipsUnknownFields(t *testing.T) {
	b := mustSeal(t, goldens()["first"]).Bytes
	b = protowire.AppendTag(b, 100, protowire.BytesType)
	b = protowire.AppendBytes(b, []byte("from the future"))
	b = protowire.AppendTag(b, 101, protowire.Fixed32Type)
	b = protowire.AppendFixed32(b, 1)
	if _, s, err := Open(b); err != nil || s.Hash != HashOf(b) {
		t.Errorf("%v", err)
	}
}

func TestPositionNext(t *testing.T) {
	first := mustSeal(t, &Frame{Origin: "a", Incarnation: 9, Txns: []Txn{put(3)}})
	second := mustSeal(t, &Frame{Origin: "a", Incarnation: 9, PrevRevision: 3, PrevHash: first.Hash, Txns: []Txn{put(5), put(6)}})
	fork := mustSeal(t, &Frame{Origin: "a", Incarnation: 9, PrevRevision: 3, PrevHash: HashOf(nil), Txns: []Txn{put(5)}})
	other := mustSeal(t, &Frame{Origin: "a", Incarnation: 8, PrevRevision: 3, PrevHash: first.Hash, Txns: []Txn{put(5)}})
	start := Position{Origin: "a"}
	born := Position{Origin: "a", Incarnation: 9}
	one := Position{Origin: "a", Incarnation: 9, Revision: 3, Hash: first.Hash}
	two := Position{Origin: "a", Incarnation: 9, Revision: 6, Hash: second.Hash}
	for _, c := range []struct {
		name string
		at   Position
		s    Sealed
		step Step
		err  error
	}{
		{"first frame, fresh", start, first, StepApply, nil},
		{"first frame, incarnation known", born, first, StepApply, nil},
		{"second frame, fresh", start, second, 0, ErrGap},
		{"next", one, second, StepApply, nil},
		{"repeat", two, second, StepSkip, nil},
		{"older", two, first, StepSkip, nil},
		{"fork", one, fork, 0, ErrGap},
		{"other incarnation", one, other, 0, ErrIncarnation},
	} {
		step, err := c.at.Next(&c.s)
		if !errors.Is(err, c.err) || (err == nil && step != c.step) {
			t.Errorf("%s: %v, %v", c.name, step, err)
		}
	}
}

func TestVector(t *testing.T) {
	v := Vector{"a": 5, "b": 2}
	for _, c := range []struct {
		w    Vector
		want bool
	}{{nil, true}, {Vector{"a": 5}, true}, {Vector{"a": 6}, false}, {Vector{"c": 1}, false}, {Vector{"c": 0}, true}} {
		if got := v.Covers(c.w); got != c.want {
			t.Errorf("%v covers %v: %v", v, c.w, got)
		}
	}
	clone := v.Clone()
	clone["a"] = 9
	if v["a"] != 5 || Vector(nil).Clone() == nil {
		t.Error("clone shares or is nil")
	}
}

func FuzzOpen(f *testing.F) {
	for _, g := range goldens() {
		s, err := Seal(g)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(s.Bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, s, err := Open(b)
		if err != nil {
			if !errors.Is(err, ErrFrame) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		again, err := Seal(frame)
		if err != nil {
			t.Fatalf("opened, but does not seal: %v", err)
		}
		if again.Last != s.Last || again.First != s.First || again.Txns != s.Txns || again.PrevHash != s.PrevHash {
			t.Fatalf("sealed again %+v, opened %+v", again, s)
		}
	})
}

// A frame with operations on the system table must not pass for one of version 1: who reads only that would
// have to skip them.
func TestSystemOperationsNeedTheirVersion(t *testing.T) {
	s, err := Seal(goldens()["system"])
	if err != nil {
		t.Fatal(err)
	}
	if s.Bytes[0] != 0x08 || s.Bytes[1] != systemVersion {
		t.Fatalf("the frame begins with %x, want version %d", s.Bytes[:2], systemVersion)
	}
	for version, readable := range map[byte]bool{0: false, 1: false, 2: true, 3: true, 4: false} {
		b := append([]byte(nil), s.Bytes...)
		b[1] = version
		if _, _, err := Open(b); (err == nil) != readable {
			t.Errorf("as version %d: %v", version, err)
		}
	}
}

// A transaction of a single-writer keyspace must be judged before it is applied, so no reader may take it for one
// that needn't be.
func TestHomesNeedTheirVersion(t *testing.T) {
	s, err := Seal(goldens()["home"])
	if err != nil {
		t.Fatal(err)
	}
	f, _, err := Open(s.Bytes)
	if err != nil || f.Txns[0].Home.Epoch != 7 || f.Txns[0].Home.Leases[0].TTL != 30 || f.Txns[1].Home.Epoch != 1<<32 || f.Txns[2].Home != nil {
		t.Fatalf("%+v, %v", f, err)
	}
	for version, readable := range map[byte]bool{1: false, 2: false, 3: true, 4: false} {
		b := append([]byte{}, s.Bytes...)
		b[1] = version
		if _, _, err := Open(b); (err == nil) != readable {
			t.Errorf("as version %d: %v", version, err)
		}
	}
}
