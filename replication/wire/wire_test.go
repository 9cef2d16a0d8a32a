package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nkeys"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"geogate/replication/event"
)

var update = flag.Bool("update", false, "write the golden messages anew; only for a new version")

const maxFrame = 1 << 20

// keyOf makes a key pair from one byte, the same each time.
func keyOf(t testing.TB, b byte) (*Signer, *Verifier) {
	t.Helper()
	pair, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSigner(pair)
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func frameOf(t testing.TB, value []byte) event.Sealed {
	t.Helper()
	s, err := event.Seal(&event.Frame{
		Origin: "fra", Incarnation: 5, PrevRevision: 7, PrevHash: event.HashOf(nil),
		Txns: []event.Txn{{Revision: 9, Stamp: 1, Ops: []event.Op{{Kind: event.OpPut, Key: []byte("k"), Value: value}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// noise does not compress, and is the same in each process.
func noise(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// pack packs a frame alone, for who takes s2 only.
func pack(signer *Signer, f *event.Sealed, partBytes int) ([][]byte, error) {
	p, err := NewPacker(signer, nil, Limits{Part: partBytes}).Pack([]event.Sealed{*f}, Reader{})
	return p.Parts, err
}

func TestPackAndUnpack(t *testing.T) {
	signer, verifier := keyOf(t, 1)
	for name, value := range map[string][]byte{
		"tiny": []byte("v"), "text": bytes.Repeat([]byte("text "), 1000), "noise": noise(100 << 10),
	} {
		want := frameOf(t, value)
		parts, err := pack(signer, &want, 4<<10)
		if err != nil {
			t.Fatal(err)
		}
		if name == "noise" && len(parts) < 25 || name == "text" && len(parts) != 1 {
			t.Errorf("%s: %d parts", name, len(parts))
		}
		a := Assembler{MaxBytes: maxFrame}
		for i, part := range parts {
			whole, p, err := a.Add(part)
			if err != nil || p.LastRevision != want.Last || (whole != nil) != (i == len(parts)-1) {
				t.Fatalf("%s, part %d: %v", name, i, err)
			}
			if whole == nil {
				continue
			}
			got, err := unpack(NewUnpacker(verifier, "fra", maxFrame, bundles), whole)
			if err != nil || got.Hash != want.Hash || !bytes.Equal(got.Bytes, want.Bytes) {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	signer, verifier := keyOf(t, 1)
	stranger, _ := keyOf(t, 2)
	frame := frameOf(t, bytes.Repeat([]byte("x"), 1000))
	good := func() *Shipment {
		return &Shipment{Origin: "fra", Incarnation: 5, PrevRevision: 7, LastRevision: 9, RawBytes: uint64(len(frame.Bytes)), Data: frame.Bytes}
	}
	seal := func(s *Signer, kind Kind, edit func(*Shipment)) []byte {
		m := good()
		edit(m)
		b, err := s.Seal(kind, m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	nothing := func(*Shipment) {}
	if _, err := unpack(NewUnpacker(verifier, "fra", maxFrame, bundles), seal(signer, Kind_KIND_SHIPMENT, nothing)); err != nil {
		t.Fatalf("the honest one: %v", err)
	}
	zeros := s2.Encode(nil, make([]byte, 100<<20))
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"a stranger's":           {seal(stranger, Kind_KIND_SHIPMENT, nothing), ErrSignature},
		"signed as another kind": {seal(signer, Kind_KIND_ACK, nothing), ErrMessage},
		"garbage":                {[]byte("garbage"), ErrMessage},
		"empty":                  {nil, ErrMessage},
		"larger than allowed":    {seal(signer, Kind_KIND_SHIPMENT, func(s *Shipment) { s.RawBytes = maxFrame + 1 }), ErrMessage},
		"a bomb": {seal(signer, Kind_KIND_SHIPMENT, func(s *Shipment) {
			s.Codec, s.Data, s.RawBytes = Codec_CODEC_S2, zeros, maxFrame
		}), ErrMessage},
		"not compressed":    {seal(signer, Kind_KIND_SHIPMENT, func(s *Shipment) { s.Codec = Codec_CODEC_S2 }), ErrMessage},
		"unknown codec":     {seal(signer, Kind_KIND_SHIPMENT, func(s *Shipment) { s.Codec = 9 }), ErrMessage},
		"wrong length":      {seal(signer, Kind_KIND_SHIPMENT, func(s *Shipment) { s.RawBytes++ }), ErrMessage},
		"wrong revision":    {seal(signer, Kind_KIND_SHIPMENT, func(s *Shipment) { s.LastRevision++ }), ErrMessage},
		"wrong incarnation": {seal(signer, Kind_KIND_SHIPMENT, func(s *Shipment) { s.Incarnation++ }), ErrMessage},
		"wrong origin":      {seal(signer, Kind_KIND_SHIPMENT, func(s *Shipment) { s.Origin = "nyc" }), ErrMessage},
		"not a frame": {seal(signer, Kind_KIND_SHIPMENT, func(s *Shipment) {
			s.Data, s.RawBytes = []byte("no frame"), 8
		}), event.ErrFrame},
	} {
		if _, err := unpack(NewUnpacker(verifier, "fra", maxFrame, bundles), c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	whole := seal(signer, Kind_KIND_SHIPMENT, nothing)
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1
		if got, err := unpack(NewUnpacker(verifier, "fra", maxFrame, bundles), flipped); err == nil && got.Hash != frame.Hash {
			t.Fatalf("bit %d flipped: another frame came out", i)
		}
	}
}

func TestAssembler(t *testing.T) {
	signer, _ := keyOf(t, 1)
	f := frameOf(t, noise(10<<10))
	parts, err := pack(signer, &f, 4<<10)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(i int, fn func(*Part)) []byte {
		var p Part
		if err := proto.Unmarshal(parts[i], &p); err != nil {
			t.Fatal(err)
		}
		fn(&p)
		b, err := proto.Marshal(&p)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		messages [][]byte
		whole    int // shipments that must come out
		fails    bool
	}{
		"in order":         {[][]byte{parts[0], parts[1], parts[2]}, 1, false},
		"twice":            {[][]byte{parts[0], parts[1], parts[2], parts[0], parts[1], parts[2]}, 2, false},
		"started anew":     {[][]byte{parts[0], parts[1], parts[0], parts[1], parts[2]}, 1, false},
		"one is missing":   {[][]byte{parts[0], parts[2]}, 0, true},
		"one is repeated":  {[][]byte{parts[0], parts[1], parts[1]}, 0, true},
		"no beginning":     {[][]byte{parts[1]}, 0, true},
		"garbage":          {[][]byte{[]byte("garbage")}, 0, true},
		"empty":            {[][]byte{{}}, 0, true},
		"too large":        {[][]byte{edit(0, func(p *Part) { p.TotalBytes = 1 << 40 })}, 0, true},
		"no parts":         {[][]byte{edit(0, func(p *Part) { p.Count = 0 })}, 0, true},
		"index too high":   {[][]byte{edit(0, func(p *Part) { p.Index = 3 })}, 0, true},
		"later version":    {[][]byte{edit(0, func(p *Part) { p.Version = Version + 2 })}, 0, true},
		"next version":     {[][]byte{edit(0, func(p *Part) { p.Version = Version + 1 }), parts[1], parts[2]}, 1, false},
		"of another frame": {[][]byte{parts[0], edit(1, func(p *Part) { p.LastRevision++ })}, 0, true},
		"more than announced": {[][]byte{
			edit(0, func(p *Part) { p.TotalBytes = 5000 }), edit(1, func(p *Part) { p.TotalBytes = 5000 }),
		}, 0, true},
		"less than announced": {[][]byte{parts[0], parts[1], edit(2, func(p *Part) { p.Data = p.Data[1:] })}, 0, true},
	} {
		a, whole, failed := Assembler{MaxBytes: maxFrame}, 0, false
		for _, m := range c.messages {
			w, p, err := a.Add(m)
			failed = failed || err != nil
			if w != nil {
				whole++
			}
			if p == nil {
				t.Errorf("%s: no header", name)
			}
		}
		if whole != c.whole || failed != c.fails {
			t.Errorf("%s: %d came out, failed %v", name, whole, failed)
		}
	}
}

func TestKeys(t *testing.T) {
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewSigner(account); err == nil {
		t.Error("took an account's key to sign")
	}
	pub, err := account.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "U", "garbage", pub} {
		if _, err := NewVerifier(bad); err == nil {
			t.Errorf("took %q for a public user key", bad)
		}
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	if pub, err = user.PublicKey(); err != nil {
		t.Fatal(err)
	}
	only, err := nkeys.FromPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewSigner(only); err == nil {
		t.Error("took a public key to sign")
	}
	// What is signed here verifies as an nkey signature, which is how NATS checks a nonce.
	s, err := NewSigner(user)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.SignNonce([]byte("nonce"))
	if err != nil || only.Verify([]byte("nonce"), sig) != nil {
		t.Errorf("nonce: %v", err)
	}
}

func TestPosition(t *testing.T) {
	for _, want := range []event.Position{
		{Origin: "a"}, {Origin: "a", Incarnation: 3}, {Origin: "a", Incarnation: 3, Revision: 9, Hash: event.HashOf(nil)},
	} {
		if got, err := FromPosition(want).In("a"); err != nil || got != want {
			t.Errorf("%v: %v, %v", want, got, err)
		}
	}
	if p, err := (*Position)(nil).In("a"); err != nil || p != (event.Position{Origin: "a"}) {
		t.Errorf("none: %v, %v", p, err)
	}
	for _, bad := range []*Position{{Hash: []byte("short")}, {Revision: -1}} {
		if _, err := bad.In("a"); !errors.Is(err, ErrMessage) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// goldens are messages that later versions must be able to read.
func goldens(t *testing.T) map[string][]byte {
	signer, _ := keyOf(t, 1)
	ack, err := signer.Seal(Kind_KIND_ACK, &Ack{
		From: "fra", To: "nyc", Incarnation: 1, Term: 2, Seq: 3, SentUnixNano: 4,
		Position: &Position{Incarnation: 5, Revision: 6, Hash: bytes.Repeat([]byte{7}, 32)},
		Vector:   []*Watermark{{Origin: "nyc", Incarnation: 5, Revision: 6}},
	})
	if err != nil {
		t.Fatal(err)
	}
	f := frameOf(t, bytes.Repeat([]byte("value "), 100))
	parts, err := pack(signer, &f, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"ack": ack, "part": parts[0]}
}

func TestGoldenMessages(t *testing.T) {
	_, verifier := keyOf(t, 1)
	read := map[string][]byte{}
	for name, b := range goldens(t) {
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
		if read[name], err = hex.DecodeString(strings.TrimSpace(string(text))); err != nil {
			t.Fatal(err)
		}
	}
	var ack Ack
	if err := verifier.Open(Kind_KIND_ACK, read["ack"], &ack); err != nil || ack.From != "fra" || ack.Position.Revision != 6 || ack.Vector[0].Origin != "nyc" {
		t.Errorf("ack: %v, %v", &ack, err)
	}
	a := Assembler{MaxBytes: maxFrame}
	whole, _, err := a.Add(read["part"])
	if err != nil {
		t.Fatal(err)
	}
	f := frameOf(t, bytes.Repeat([]byte("value "), 100))
	if got, err := unpack(NewUnpacker(verifier, "fra", maxFrame, bundles), whole); err != nil || got.Hash != f.Hash {
		t.Errorf("part: %v", err)
	}
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	signer, verifier := keyOf(t, 1)
	b, err := signer.Seal(Kind_KIND_PING, &Ping{From: "fra", Nonce: 9})
	if err != nil {
		t.Fatal(err)
	}
	b = protowire.AppendTag(b, 99, protowire.BytesType)
	b = protowire.AppendBytes(b, []byte("from the future"))
	var ping Ping
	if err := verifier.Open(Kind_KIND_PING, b, &ping); err != nil || ping.Nonce != 9 {
		t.Errorf("%v, %v", &ping, err)
	}
}

func FuzzAssembler(f *testing.F) {
	signer, verifier := keyOf(f, 1)
	frame := frameOf(f, noise(3000))
	parts, err := pack(signer, &frame, 2<<10)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(parts[0], parts[1])
	f.Fuzz(func(t *testing.T, first, second []byte) {
		a := Assembler{MaxBytes: maxFrame}
		for _, m := range [][]byte{first, second} {
			whole, _, err := a.Add(m)
			if err != nil || whole == nil {
				continue
			}
			if got, err := unpack(NewUnpacker(verifier, "fra", maxFrame, bundles), whole); err == nil && got.Hash != frame.Hash {
				t.Fatal("a frame came out that was never signed")
			}
		}
	})
}
