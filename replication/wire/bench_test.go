package wire

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"geogate/replication/event"
)

// benchmarkPack packs the same chain again and again: the runs are as long as they are there.
func benchmarkPack(b *testing.B, writes int, value func(*rand.Rand) []byte, zstd bool) {
	signer, _ := keyOf(b, 1)
	frames := chainOf(b, 2000/(writes+9)+1, writes, value)
	payload := 0
	for range frames {
		payload += writes * (256 + len("/records/00000000"))
	}
	sent, packed := 0, 0
	p := NewPacker(signer, nil, Limits{Part: 1 << 20, Run: 256 << 10})
	for b.Loop() {
		f := frames[packed%len(frames):][:1]
		out, err := p.Pack(f, Reader{Zstd: zstd})
		if err == nil {
			err = p.Learn(f)
		}
		if err != nil {
			b.Fatal(err)
		}
		packed++
		for _, part := range out.Parts {
			sent += len(part)
		}
	}
	b.ReportMetric(float64(sent)*float64(len(frames))/float64(packed)/float64(payload), "sent/payload")
}

// BenchmarkPack compresses, signs and splits frames. It reports the bytes of the messages by those of keys and values.
func BenchmarkPack(b *testing.B) {
	for _, kind := range []struct {
		name  string
		value func(*rand.Rand) []byte
	}{{"JSON", record}, {"random", random256}} {
		for _, writes := range []int{1, 8, 32, 256} {
			for _, codec := range []string{"s2", "zstd"} {
				b.Run(fmt.Sprintf("%s/%d/%s", kind.name, writes, codec), func(b *testing.B) {
					benchmarkPack(b, writes, kind.value, codec == "zstd")
				})
			}
		}
	}
}

// BenchmarkUnpack verifies, decompresses and opens frames.
func BenchmarkUnpack(b *testing.B) {
	signer, verifier := keyOf(b, 1)
	for _, writes := range []int{1, 8, 32, 256} {
		frames := chainOf(b, 2000/(writes+9)+1, writes, record)
		for _, codec := range []string{"s2", "zstd"} {
			wholes, _ := packAll(b, signer, frames, 256<<10, func(int) bool { return codec == "zstd" })
			b.Run(fmt.Sprintf("JSON/%d/%s", writes, codec), func(b *testing.B) {
				u, i := NewUnpacker(verifier, "fra", maxFrame, bundles), 0
				var got event.Sealed
				for b.Loop() {
					var err error
					if got, err = unpack(u, wholes[i]); err != nil {
						b.Fatal(err)
					}
					i = (i + 1) % len(wholes)
				}
				_ = got
			})
		}
	}
}

// BenchmarkAuthenticate seals an ack and opens it.
func BenchmarkAuthenticate(b *testing.B) {
	signer, _ := keyOf(b, 1)
	to, from := between(b, 1, 2), between(b, 2, 1)
	ack := &Ack{From: "fra", To: "nyc", Incarnation: 5, Term: 7, Seq: 9, Position: &Position{Incarnation: 5, Revision: 1 << 20, Hash: make([]byte, 32)}}
	for _, kind := range []struct {
		name string
		seal func() ([]byte, error)
	}{
		{"signature", func() ([]byte, error) { return signer.Seal(Kind_KIND_ACK, ack) }},
		{"MAC", func() ([]byte, error) { return SealFor(Kind_KIND_ACK, ack, to) }},
	} {
		sealed, err := kind.seal()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(kind.name+"/seal", func(b *testing.B) {
			for b.Loop() {
				if _, err := kind.seal(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(kind.name+"/open", func(b *testing.B) {
			for b.Loop() {
				var got Ack
				if err := from.Open(Kind_KIND_ACK, sealed, &got); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
