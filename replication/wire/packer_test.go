package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"geogate/replication/event"
)

// record is a value of 256 bytes as services keep them: what differs is as random as identifiers and counters are.
func record(r *rand.Rand) []byte {
	words := []string{"accepted", "backend", "cache", "deploy", "east", "error", "finished", "frontend", "healthy", "pending", "ready", "started", "worker"}
	word := func() string { return words[r.IntN(len(words))] }
	b := fmt.Appendf(nil, `{"id":"%016x%016x","name":"%s-%s-%d","host":"10.%d.%d.%d","port":%d,"state":"%s","generation":%d,"updated_at":%d,"note":"`,
		r.Uint64(), r.Uint64(), word(), word(), r.IntN(1000), r.IntN(256), r.IntN(256), r.IntN(256), 1024+r.IntN(64512), word(), r.IntN(10_000), 1_700_000_000_000+r.Int64N(100_000_000_000))
	for len(b) < 254 {
		b = append(append(b, word()...), ' ')
	}
	return append(b[:254], `"}`...)
}

func random256(r *rand.Rand) []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// chainOf makes frames of so many writes each, which continue each other.
func chainOf(t testing.TB, frames, writes int, value func(*rand.Rand) []byte) []event.Sealed {
	t.Helper()
	r := rand.New(rand.NewPCG(1, uint64(writes)))
	at := event.Position{Origin: "fra", Incarnation: 5, Revision: 1000, Hash: event.HashOf(nil)}
	out := make([]event.Sealed, frames)
	for i := range out {
		f := &event.Frame{
			Origin: at.Origin, Incarnation: at.Incarnation, PrevRevision: at.Revision, PrevHash: at.Hash,
			Seen: event.Vector{"nyc": 2000 + at.Revision, "sin": 30},
		}
		for j := range writes {
			revision := at.Revision + int64(j) + 1
			f.Txns = append(f.Txns, event.Txn{
				Revision: revision, Stamp: event.Stamp(1_700_000_000_000+revision/8) << 16,
				Ops: []event.Op{{Kind: event.OpPut, Key: fmt.Appendf(nil, "/records/%08d", revision), Value: value(r)}},
			})
		}
		s, err := event.Seal(f)
		if err != nil {
			t.Fatal(err)
		}
		at.Revision, at.Hash, out[i] = s.Last, s.Hash, s
	}
	return out
}

// packAll packs a chain of frames that fit into one message each; zstd says for each who takes it.
func packAll(t testing.TB, signer *Signer, frames []event.Sealed, runBytes int, zstd func(i int) bool) (wholes [][]byte, packed []Packed) {
	t.Helper()
	p := NewPacker(signer, nil, Limits{Part: 1 << 20, Run: runBytes})
	for i := range frames {
		out, err := p.Pack(frames[i:], Reader{Zstd: zstd(i)})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Learn(frames[i : i+1]); err != nil {
			t.Fatal(err)
		}
		a := Assembler{MaxBytes: maxFrame}
		whole, _, err := a.Add(out.Parts[0])
		if err != nil || whole == nil || len(out.Parts) != 1 {
			t.Fatalf("frame %d in %d parts: %v", i, len(out.Parts), err)
		}
		wholes, packed = append(wholes, whole), append(packed, out)
	}
	return wholes, packed
}

func always(int) bool { return true }

// unpack reads a shipment of one frame.
func unpack(u *Unpacker, whole []byte) (event.Sealed, error) {
	frames, err := u.Unpack(whole)
	if err == nil && len(frames) != 1 {
		err = fmt.Errorf("%d frames in a shipment", len(frames))
	}
	if err != nil {
		return event.Sealed{}, err
	}
	return frames[0], nil
}

// TestRuns reads a chain from the beginning of each run to its end, and checks that nowhere else it can be begun where a
// history is needed.
func TestRuns(t *testing.T) {
	signer, verifier := keyOf(t, 1)
	short := func(r *rand.Rand) []byte { return record(r)[:r.IntN(20)] }
	for _, c := range []struct {
		writes, number, runBytes int
		value                    func(*rand.Rand) []byte
	}{{1, 200, 4 << 10, short}, {1, 400, 64 << 10, record}, {10, 50, 64 << 10, record}, {300, 4, 64 << 10, record}, {3000, 2, 64 << 10, record}} {
		writes := c.writes
		frames := chainOf(t, c.number, writes, c.value)
		wholes, packed := packAll(t, signer, frames, c.runBytes, always)
		begins, refused := 0, 0
		for start := range frames {
			u := NewUnpacker(verifier, "fra", maxFrame, bundles)
			if !packed[start].Begins {
				switch _, err := unpack(u, wholes[start]); {
				case errors.Is(err, ErrHistory):
					refused++
				case err != nil:
					t.Fatalf("%d writes, begun in the middle of a run: %v", writes, err)
				}
				continue
			}
			begins++
			for i := start; i < len(frames); i++ {
				got, err := unpack(u, wholes[i])
				if err != nil || got.Hash != frames[i].Hash || !bytes.Equal(got.Bytes, frames[i].Bytes) {
					t.Fatalf("%d writes, frame %d, begun at %d: %v", writes, i, start, err)
				}
			}
		}
		if begins < 2 || writes < 300 && refused < begins {
			t.Errorf("%d writes: %d runs, %d frames in need of a history", writes, begins, refused)
		}
	}
}

// TestRunEndsWhereS2Begins: who takes s2 only reads each frame for itself, and afterwards a new run begins.
func TestRunEndsWhereS2Begins(t *testing.T) {
	signer, verifier := keyOf(t, 1)
	frames := chainOf(t, 60, 4, record)
	wholes, packed := packAll(t, signer, frames, 1<<20, func(i int) bool { return i < 20 || i >= 40 })
	all := NewUnpacker(verifier, "fra", maxFrame, bundles)
	for i := range frames {
		want := Codec_CODEC_ZSTD
		if i >= 20 && i < 40 {
			want = Codec_CODEC_S2
			if _, err := unpack(NewUnpacker(verifier, "fra", maxFrame, bundles), wholes[i]); err != nil || !packed[i].Begins || packed[i].Run {
				t.Fatalf("frame %d for itself: %v, %+v", i, err, packed[i].Codec)
			}
		}
		if packed[i].Codec != want || packed[i].Begins != (i == 0 || i == 40 || want == Codec_CODEC_S2) {
			t.Errorf("frame %d: %s, begins %v", i, packed[i].Codec, packed[i].Begins)
		}
		if got, err := unpack(all, wholes[i]); err != nil || got.Hash != frames[i].Hash {
			t.Fatalf("frame %d: %v", i, err)
		}
	}
}

// TestHistoryOfAnother: beside other bytes than the packer's, zstd gives some frame without any error of its own.
func TestHistoryOfAnother(t *testing.T) {
	signer, verifier := keyOf(t, 1)
	frames := chainOf(t, 30, 4, record)
	wholes, _ := packAll(t, signer, frames, 1<<20, always)
	u := NewUnpacker(verifier, "fra", maxFrame, bundles)
	for i := range frames[:20] {
		if _, err := unpack(u, wholes[i]); err != nil {
			t.Fatal(err)
		}
	}
	u.past.bytes, u.known = bytes.ReplaceAll(u.past.bytes, []byte("generation"), []byte("noitareneg")), 0
	for i := 20; i < len(frames); i++ {
		if got, err := unpack(u, wholes[i]); !errors.Is(err, ErrHistory) {
			t.Fatalf("frame %d: %v, came out with the right bytes: %v", i, err, got.Hash == frames[i].Hash)
		}
	}
}

// TestHistoryWithAHole: who has missed a frame does not take what follows it for its successor.
func TestHistoryWithAHole(t *testing.T) {
	signer, verifier := keyOf(t, 1)
	frames := chainOf(t, 40, 4, record)
	wholes, _ := packAll(t, signer, frames, 1<<20, always)
	u := NewUnpacker(verifier, "fra", maxFrame, bundles)
	refused := 0
	for i := range frames {
		if i == 2 {
			continue
		}
		got, err := unpack(u, wholes[i])
		if errors.Is(err, ErrHistory) {
			refused++
		} else if err != nil || got.Hash != frames[i].Hash {
			t.Fatalf("frame %d: %v", i, err)
		}
	}
	if refused == 0 {
		t.Error("nothing needed what was missed")
	}
}

func TestUnpackRefusesZstd(t *testing.T) {
	signer, verifier := keyOf(t, 1)
	frame := frameOf(t, bytes.Repeat([]byte("x"), 1000))
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer // has no content size
	w, err := zstd.NewWriter(&stream, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := w.Write(frame.Bytes); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	good := enc.EncodeAll(frame.Bytes, nil)
	zeros := enc.EncodeAll(make([]byte, 100<<20), nil)
	size := uint64(len(frame.Bytes))
	for name, c := range map[string]struct {
		s    *Shipment
		want error
	}{
		"the honest one":      {&Shipment{Data: good, RawBytes: size, FrameHash: hashHead(frame.Hash)}, nil},
		"another frame":       {&Shipment{Data: good, RawBytes: size, FrameHash: 1}, ErrMessage},
		"a bomb":              {&Shipment{Data: zeros, RawBytes: maxFrame}, ErrMessage},
		"a bomb that says so": {&Shipment{Data: zeros, RawBytes: 100 << 20}, ErrMessage},
		"a bomb behind it":    {&Shipment{Data: append(bytes.Clone(good), zeros...), RawBytes: size, FrameHash: hashHead(frame.Hash)}, ErrMessage},
		"no size":             {&Shipment{Data: stream.Bytes(), RawBytes: 2 * size}, ErrMessage},
		"not compressed":      {&Shipment{Data: frame.Bytes, RawBytes: size}, ErrMessage},
		"empty":               {&Shipment{}, ErrMessage},
		"no history":          {&Shipment{Data: good, RawBytes: size, HistoryFromPlusOne: 1, HistoryBytes: 9}, ErrHistory},
		"a long history":      {&Shipment{Data: good, RawBytes: size, HistoryFromPlusOne: 1, HistoryBytes: maxHistory + 1}, ErrMessage},
	} {
		c.s.Codec = Codec_CODEC_ZSTD
		whole, err := signer.Seal(Kind_KIND_SHIPMENT, c.s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unpack(NewUnpacker(verifier, "fra", maxFrame, bundles), whole); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if _, err := unpack(NewUnpacker(verifier, "nyc", maxFrame, bundles), whole); err == nil {
			t.Errorf("%s: taken for one of nyc", name)
		}
	}
}

func TestPieces(t *testing.T) {
	p, err := NewPieces(maxFrame)
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{"text": bytes.Repeat([]byte("text "), 1000), "noise": noise(10 << 10), "empty": {}} {
		for _, takes := range []bool{true, false} {
			codec, data := p.Compress(raw, takes)
			if (codec == Codec_CODEC_ZSTD) != takes {
				t.Errorf("%s: %s for who takes zstd: %v", name, codec, takes)
			}
			got, err := p.Decompress(codec, data, uint64(len(raw)))
			if err != nil || !bytes.Equal(got, raw) {
				t.Errorf("%s under %s: %v", name, codec, err)
			}
			if _, err := p.Decompress(codec, data, uint64(len(raw)+1)); !errors.Is(err, ErrMessage) {
				t.Errorf("%s under %s, one byte more said: %v", name, codec, err)
			}
			if _, err := p.Decompress(9, data, uint64(len(raw))); !errors.Is(err, ErrMessage) {
				t.Errorf("%s under an unknown codec: %v", name, err)
			}
		}
	}
	_, data := p.Compress([]byte("as an older build says it"), false)
	if _, err := p.Decompress(0, data, 25); err != nil {
		t.Errorf("s2 without its name: %v", err)
	}
}

// TestGoldenRun reads shipments that are compressed beside each other, as this build's first writer wrote them, and such as
// hold several frames each. Later compressors may give other bytes; all of them must be readable.
func TestGoldenRun(t *testing.T) {
	signer, verifier := keyOf(t, 1)
	frames := chainOf(t, 12, 2, record)
	for name, wrote := range map[string][]event.Sealed{"run.hex": frames[:4], "bundles.hex": frames} {
		path := filepath.Join("testdata", name)
		if *update {
			var text strings.Builder
			wholes, _ := packBundles(t, signer, wrote, Limits{Run: 1 << 20, Bundle: 1 << 20}, len(wrote)/4, bundles)
			for _, w := range wholes {
				text.WriteString(hex.EncodeToString(w) + "\n")
			}
			if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		u, beside, read := NewUnpacker(verifier, "fra", maxFrame, bundles), 0, 0
		for i, line := range strings.Fields(string(text)) {
			whole, err := hex.DecodeString(line)
			if err != nil {
				t.Fatal(err)
			}
			got, err := u.Unpack(whole)
			if err != nil || len(got) != len(wrote)/4 || got[len(got)-1].Hash != wrote[read+len(got)-1].Hash {
				t.Fatalf("%s, shipment %d: %d frames, %v", name, i, len(got), err)
			}
			beside, read = max(beside, u.known), read+len(got)
		}
		if beside == 0 || read != len(wrote) {
			t.Errorf("%s: %d frames read, %d bytes of history known", name, read, beside)
		}
	}
}
