package wire

import (
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// FuzzUnpack: a shipment that is signed and lies about everything else gives a frame within the bound, or an error.
func FuzzUnpack(f *testing.F) {
	signer, verifier := keyOf(f, 1)
	frame := frameOf(f, noise(300))
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	zstdOf := func(b []byte) []byte { return enc.EncodeAll(b, nil) }
	f.Add(frame.Bytes, uint64(len(frame.Bytes)), int32(Codec_CODEC_NONE))
	f.Add(s2.Encode(nil, frame.Bytes), uint64(len(frame.Bytes)), int32(Codec_CODEC_S2))
	f.Add(s2.Encode(nil, make([]byte, 64<<20)), uint64(64<<20), int32(Codec_CODEC_S2)) // a bomb
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, uint64(1<<32-1), int32(Codec_CODEC_S2))
	f.Add(zstdOf(frame.Bytes), uint64(len(frame.Bytes)), int32(Codec_CODEC_ZSTD))
	f.Add(zstdOf(make([]byte, 64<<20)), uint64(64<<20), int32(Codec_CODEC_ZSTD))
	f.Add(append(zstdOf(frame.Bytes), zstdOf(make([]byte, 64<<20))...), uint64(len(frame.Bytes)), int32(Codec_CODEC_ZSTD))
	f.Fuzz(func(t *testing.T, data []byte, raw uint64, codec int32) {
		whole, err := signer.Seal(Kind_KIND_SHIPMENT, &Shipment{
			Origin: "fra", Incarnation: 5, PrevRevision: 7, LastRevision: 9, RawBytes: raw, Codec: Codec(codec), Data: data,
			FrameHash: hashHead(frame.Hash),
		})
		if err != nil {
			t.Fatal(err)
		}
		s, err := unpack(NewUnpacker(verifier, "fra", maxFrame, bundles), whole)
		if err == nil && (len(s.Bytes) > maxFrame || uint64(len(s.Bytes)) != raw || codec == int32(Codec_CODEC_ZSTD) && hashHead(s.Hash) != hashHead(frame.Hash)) {
			t.Fatalf("a frame of %d bytes, %d said", len(s.Bytes), raw)
		}
	})
}

// FuzzHistory: whatever a signed shipment says that it is compressed beside, only the frame that it names comes out, and the
// frames behind it are still read.
func FuzzHistory(f *testing.F) {
	signer, verifier := keyOf(f, 1)
	frames := chainOf(f, 12, 4, record)
	wholes, _ := packAll(f, signer, frames, 1<<20, always)
	var last Shipment
	if err := verifier.Open(Kind_KIND_SHIPMENT, wholes[10], &last); err != nil {
		f.Fatal(err)
	}
	f.Add(last.Data, last.RawBytes, last.HistoryFromPlusOne, last.HistoryBytes)
	f.Add(last.Data, last.RawBytes, last.HistoryFromPlusOne, last.HistoryBytes-1)
	f.Add(last.Data, last.RawBytes, last.HistoryFromPlusOne+1, last.HistoryBytes)
	f.Add(last.Data, last.RawBytes, uint64(0), uint64(0))
	f.Add(last.Data, last.RawBytes, uint64(1<<63), uint64(1<<63))
	f.Fuzz(func(t *testing.T, data []byte, raw, from, beside uint64) {
		u := NewUnpacker(verifier, "fra", maxFrame, bundles)
		for i := range 10 {
			if _, err := unpack(u, wholes[i]); err != nil {
				t.Fatal(err)
			}
		}
		whole, err := signer.Seal(Kind_KIND_SHIPMENT, &Shipment{
			Codec: Codec_CODEC_ZSTD, RawBytes: raw, Data: data, FrameHash: last.FrameHash, HistoryFromPlusOne: from, HistoryBytes: beside,
		})
		if err != nil {
			t.Fatal(err)
		}
		if s, err := unpack(u, whole); err == nil && hashHead(s.Hash) != last.FrameHash {
			t.Fatal("another frame came out")
		}
		for i := 10; i < len(wholes); i++ {
			if s, err := unpack(u, wholes[i]); err != nil || s.Hash != frames[i].Hash {
				t.Fatalf("frame %d afterwards: %v", i, err)
			}
		}
	})
}

func FuzzSigned(f *testing.F) {
	signer, _ := keyOf(f, 1)
	b, err := signer.Seal(Kind_KIND_ACK, &Ack{From: "fra"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	if b, err = SealFor(Kind_KIND_ACK, &Ack{From: "fra"}, between(f, 1, 3), between(f, 1, 2)); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	verifier := between(f, 2, 1)
	f.Fuzz(func(t *testing.T, b []byte) {
		var ack Ack
		if verifier.Open(Kind_KIND_ACK, b, &ack) == nil && ack.From != "fra" {
			t.Fatal("a message was opened that was never signed")
		}
		_, _ = Marks(ack.Vector)
	})
}

// FuzzBundle: a signed shipment that lies about where its frames begin gives those that were packed, or an error.
func FuzzBundle(f *testing.F) {
	signer, verifier := keyOf(f, 1)
	frames := chainOf(f, 3, 2, record)
	b := (&Packer{limits: Limits{Bundle: 1 << 20}}).gather(frames, bundles)
	honest := b.plain()
	f.Add(honest.Data, honest.MoreFrames[0], honest.MoreFrames[1], uint8(2))
	f.Add(honest.Data, uint32(0), uint32(1<<32-1), uint8(255))
	f.Fuzz(func(t *testing.T, data []byte, one, other uint32, more uint8) {
		s := &Shipment{RawBytes: uint64(len(data)), Data: data, FrameHash: honest.FrameHash}
		for i := range more {
			s.MoreFrames = append(s.MoreFrames, []uint32{one, other}[i%2])
		}
		whole, err := signer.Seal(Kind_KIND_SHIPMENT, s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := NewUnpacker(verifier, "fra", maxFrame, bundles).Unpack(whole)
		if err == nil && (len(got) != int(more)+1 || more > 0 && got[more].Hash != frames[2].Hash) {
			t.Fatalf("%d frames of %d", len(got), more)
		}
	})
}
