package wire

import (
	"testing"

	"github.com/klauspost/compress/s2"
)

// FuzzUnpack: a shipment that is signed and lies about everything else gives a frame within the bound, or an error.
func FuzzUnpack(f *testing.F) {
	signer, verifier := keyOf(f, 1)
	frame := frameOf(f, noise(300))
	f.Add(frame.Bytes, uint64(len(frame.Bytes)), int32(Codec_CODEC_NONE))
	f.Add(s2.Encode(nil, frame.Bytes), uint64(len(frame.Bytes)), int32(Codec_CODEC_S2))
	f.Add(s2.Encode(nil, make([]byte, 64<<20)), uint64(64<<20), int32(Codec_CODEC_S2)) // a bomb
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, uint64(1<<32-1), int32(Codec_CODEC_S2))
	f.Fuzz(func(t *testing.T, data []byte, raw uint64, codec int32) {
		whole, err := signer.Seal(Kind_KIND_SHIPMENT, &Shipment{
			Origin: "fra", Incarnation: 5, PrevRevision: 7, LastRevision: 9, RawBytes: raw, Codec: Codec(codec), Data: data,
		})
		if err != nil {
			t.Fatal(err)
		}
		if s, err := Unpack(verifier, "fra", whole, maxFrame); err == nil && (len(s.Bytes) > maxFrame || uint64(len(s.Bytes)) != raw) {
			t.Fatalf("a frame of %d bytes, %d said", len(s.Bytes), raw)
		}
	})
}

func FuzzSigned(f *testing.F) {
	signer, verifier := keyOf(f, 1)
	b, err := signer.Seal(Kind_KIND_ACK, &Ack{From: "fra"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var ack Ack
		if verifier.Open(Kind_KIND_ACK, b, &ack) == nil && ack.From != "fra" {
			t.Fatal("a message was opened that was never signed")
		}
		_, _ = Marks(ack.Vector)
	})
}
